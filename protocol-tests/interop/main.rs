//! Client libraries as their users install them, each playing client and worker against a real server.
//!
//! `protocol-tests/setup` installs them; a library that is missing fails its test. README.md beside this file
//! tells how to run one, what every script must check, and what a library does not offer.
#![allow(clippy::disallowed_methods)] // deadlines of real processes are measured with the real clock

mod library;
#[path = "../load/mod.rs"]
mod load;
mod report;
mod script;
mod server;

use library::Library;

/// Fails to compile unless libgearman's headers are there.
const HEADERS: &[&str] = &["cc", "-fsyntax-only", "-include", "libgearman/gearman.h", "-x", "c", "/dev/null"];

#[test]
fn the_gearman_and_gearadmin_tools_work_unchanged() {
    Library {
        name: "tools",
        needs: &[&["gearman", "-H"], &["gearadmin", "--help"], HEADERS],
        build: &[&["cc", "-O1", "-o", "{target}/tools-worker", "c/worker.c", "-lgearman"]],
    }
    .run(&["bash", "c/tools.sh", "{target}/tools-worker"]);
}

#[test]
fn libgearman_works_unchanged() {
    Library {
        name: "libgearman",
        needs: &[HEADERS],
        build: &[
            &["cc", "-O1", "-o", "{target}/libgearman-worker", "c/worker.c", "-lgearman"],
            &["cc", "-O1", "-o", "{target}/libgearman", "c/libgearman.c", "c/support.c", "-lgearman"],
        ],
    }
    .run(&["{target}/libgearman", "{target}/libgearman-worker"]);
}

#[test]
fn php_gearman_works_unchanged() {
    Library {
        name: "php-gearman",
        needs: &[&["php", "-r", "exit(extension_loaded('gearman') ? 0 : 1);"]],
        build: &[],
    }
    .run(&["php", "php/interop.php"]);
}

#[test]
fn gearman_for_perl_works_unchanged() {
    Library {
        name: "perl",
        needs: &[&["perl", "-MGearman::Client", "-MGearman::Worker", "-e1"]],
        build: &[],
    }
    .run(&["perl", "perl/interop.pl"]);
}

#[test]
fn gear_for_python_works_unchanged() {
    Library { name: "gear", needs: &[&["{target}/python/bin/python", "-c", "import gear"]], build: &[] }
        .run(&["{target}/python/bin/python", "python/with_gear.py"]);
}

#[test]
fn pygearman_works_unchanged() {
    Library {
        name: "pygearman",
        needs: &[&["{target}/python/bin/python", "-c", "import gearman"]],
        build: &[],
    }
    .run(&["{target}/python/bin/python", "python/with_pygearman.py"]);
}

#[test]
fn npm_gearman_works_unchanged() {
    Library {
        name: "npm-gearman",
        needs: &[&["node", "-e", "require('./node/node_modules/gearman')"]],
        build: &[],
    }
    .run(&["node", "node/gearman.mjs"]);
}

#[test]
fn gearmanode_works_unchanged() {
    Library {
        name: "gearmanode",
        needs: &[&["node", "-e", "require('./node/node_modules/gearmanode')"]],
        build: &[],
    }
    .run(&["node", "node/gearmanode.mjs"]);
}

#[test]
fn the_crate_gearman_works_unchanged() {
    Library {
        name: "rust",
        needs: &[],
        build: &[&[
            "cargo",
            "build",
            "--locked",
            "--quiet",
            "--manifest-path",
            "rust/Cargo.toml",
            "--target-dir",
            "{target}/rust",
        ]],
    }
    .run(&["{target}/rust/debug/interop-rust"]);
}
