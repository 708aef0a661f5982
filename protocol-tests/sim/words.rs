//! What peers say, word by word: payloads, handles, and what makes no sense.

use bytes::{BufMut, Bytes, BytesMut};
use fastrand::Rng;
use gearhouse::protocol::Kind;

use super::ask::{Admin, Ask, Form, Submit, Work};
use super::peer::Scene;
use super::swarm::choice;

pub fn submit(form: Form, scene: &mut Scene) -> Ask {
    let rng = &mut scene.rng;
    let unique = choice(rng, &scene.swarm.uniques);
    // Jobs with `-` are told apart by their payload: few payloads, so that some are equal.
    let payload =
        if unique == "-" { Bytes::from_static(choice(rng, &[&b""[..], b"p", b"q\0"])) } else { payload(rng) };
    Ask::Submit(Submit { form, function: choice(rng, &scene.swarm.functions), unique, payload })
}

pub fn update(handle: Bytes, rng: &mut Rng) -> Ask {
    let kind = choice(rng, &[Kind::WorkData, Kind::WorkWarning, Kind::WorkStatus, Kind::WorkStatus]);
    let data = match kind {
        Kind::WorkStatus => {
            let statuses: [Option<&[u8]>; 5] =
                [Some(b"3\x0010"), Some(b"007\x000.5"), Some(b"x\0 12y"), Some(b"4"), None];
            choice(rng, &statuses).map(Bytes::from_static)
        }
        _ => data(rng),
    };
    Ask::Work(Work { kind, handle, data, with_response_magic: rng.u8(0..8) == 0 })
}

pub fn end(handle: Bytes, rng: &mut Rng) -> Ask {
    let kind = choice(rng, &[Kind::WorkComplete, Kind::WorkComplete, Kind::WorkFail, Kind::WorkException]);
    let data = match kind {
        Kind::WorkFail => choice(rng, &[None, Some(b"")]),
        _ => {
            return Ask::Work(Work { kind, handle, data: data(rng), with_response_magic: rng.u8(0..8) == 0 });
        }
    };
    Ask::Work(Work {
        kind,
        handle,
        data: data.map(|data: &[u8; 0]| Bytes::from_static(data)),
        with_response_magic: false,
    })
}

pub fn data(rng: &mut Rng) -> Option<Bytes> {
    (rng.u8(0..6) > 0).then(|| payload(rng))
}

/// Any bytes; mostly few, sometimes more than what is copied, chained or shared on its way.
pub fn payload(rng: &mut Rng) -> Bytes {
    let len = match rng.u8(0..60) {
        0 => rng.usize(4000..4200),
        1 => rng.usize(4200..9000),
        2..20 => 0,
        _ => rng.usize(1..30),
    };
    // Long ones repeat themselves: drawing each byte takes time.
    let part: Vec<u8> = (0..len.min(23)).map(|_| rng.u8(..)).collect();
    part.iter().copied().cycle().take(len).collect()
}

/// A handle that someone was told lately, or one that no one was told.
pub fn some_handle(scene: &mut Scene) -> Bytes {
    let forged: [&[u8]; 5] = [b"H:sim:0", b"H:sim:99999999999999999999999", b"H:other:1", b"H:sim:01", b"x"];
    match scene.handles.len() {
        0 => Bytes::from_static(forged[0]),
        _ if scene.rng.u8(0..10) == 0 => Bytes::from_static(choice(&mut scene.rng, &forged)),
        len => scene.handles[scene.rng.usize(0..len)].clone(),
    }
}

pub fn nonsense(scene: &mut Scene) -> Ask {
    if scene.is_late && scene.rng.u8(0..4) == 0 {
        return Ask::Admin(Admin::Shutdown { graceful: scene.rng.bool() });
    }
    let request = b"\0REQ";
    let (magic, kind, body, code): (&'static [u8; 4], _, &'static [u8], _) = match scene.rng.u8(0..8) {
        0 => (request, Kind::Noop, b"", "INVALID_COMMAND"),
        1 => (request, Kind::JobCreated, b"H:sim:1", "INVALID_COMMAND"),
        2 => (request, Kind::AllYours, b"", "INVALID_COMMAND"),
        3 => (b"\0RES", Kind::GrabJob, b"", "INVALID_MAGIC"),
        4 => (request, Kind::SubmitJob, b"no separator", "INVALID_PACKET"),
        5 => (request, Kind::SubmitJobEpoch, b"a\0u\0payload", "INVALID_PACKET"),
        6 if scene.rng.bool() => return Ask::Admin(Admin::Ready),
        6 => return Ask::Admin(Admin::Unknown(Bytes::from_static(b"nothing"))),
        _ => return Ask::Admin(Admin::Version),
    };
    Ask::Nonsense { magic, kind, body: Bytes::from_static(body), code }
}

pub fn breaking(scene: &mut Scene) -> Ask {
    let (bytes, is_answered): (&[u8], bool) = match scene.rng.u8(0..4) {
        0 => (b"\0BAD\0\0\0\x01\0\0\0\0", false),
        1 => (b"\0REQ\0\0\0\x2b\0\0\0\0", false),
        2 => (b"\0REQ\x80\0\0\0\0\0\0\0", false),
        _ => {
            let mut header = BytesMut::from(&b"\0REQ\0\0\0\x10"[..]);
            header.put_u32(u32::try_from(scene.swarm.max_frame).expect("bounds are small here") + 1);
            return Ask::Breaking { bytes: header.freeze(), is_answered: true };
        }
    };
    Ask::Breaking { bytes: Bytes::from_static(bytes), is_answered }
}

/// The name, if it can stand in a line.
pub fn for_text(name: &Bytes) -> Option<Bytes> {
    (!name.is_empty() && name.iter().all(u8::is_ascii_graphic)).then(|| name.clone())
}
