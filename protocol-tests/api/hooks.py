"""Leads what is made up to where something is, and says which refusals the document cannot foresee.

A case that is to be refused is sent as it was made up. In one that is to be accepted most names are replaced by such
that are there, values of fields that exclude one another are left out, and what would empty the server is kept to a part
of it. What is replaced is told by the case alone, so that a seed always makes the same requests.
"""

import re
import zlib

import schemathesis
from schemathesis.core import NotSet
from schemathesis.core.failures import ServerError
from schemathesis.core.parameters import ParameterLocation
from schemathesis.openapi.checks import RejectedPositiveData

import world

world.fill()

SUBMITS = ("POST /api/v1/jobs", "POST /api/v1/functions/{function}/jobs")
CRONS = ["0 4 1 1 *", "30 8 * * Mon-Fri", "*/5 0-3,7 1 * *", "  1   2 3 4   5 "]
# Of jobs and schedules so many are acted on in numbers, and deleted.
FEW = 10
ZONES = ["UTC", "Europe/Berlin", "America/New_York"]

# Rules between several fields, and values that only the server knows. By them a request is refused whose every part the
# document allows. Any other refusal of such a request is a fault.
RULES = re.compile(
    "|".join(
        [
            # Cursors are the server's own business.
            "`after` is not the `next`",
            # Between fields.
            "Say `.*` or `.*`, not both",
            # Told in base64, where no pattern can see it.
            "cannot have a NUL byte",
            "A job needs a `function`",
            "A schedule needs a `function` and `cron`",
            "`priority` is for the action `priority`",
            "The action `priority` needs a `priority`",
            "Say `handles`, or `filter`",
            "`from` must be before `to`",
            # Of requests that came before.
            "Another request came with this `Idempotency-Key`",
            "`Idempotency-Key` is for jobs in the background",
            # Languages that are not regular, lists of names that change.
            "The schedule '.*' (is not valid|never comes round)",
            "There is no time zone",
            "is no handle of this server",
        ]
    ),
    re.DOTALL,
)


def number(case, salt):
    body = None if isinstance(case.body, NotSet) else case.body
    text = repr((salt, case.operation.label, case.path_parameters, case.query, body))
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def is_positive(case, location):
    component = case.meta.components.get(location) if case.meta else None
    return component is None or component.mode.is_positive


# OpenAPI 3.1 has no way to say what one event of a stream is, and its schema is that of the whole text. Schemathesis reads
# it as the schema of each event: so it gets one.
EVENT = {
    "type": "object",
    "properties": {"event": {"type": "string", "minLength": 1}, "data": {"type": "string", "pattern": r"^\{.*\}$"}},
    "required": ["event", "data"],
}


@schemathesis.hook
def before_load_schema(context, raw_schema):
    for path in raw_schema["paths"].values():
        for operation in path.values():
            for response in operation["responses"].values():
                if "text/event-stream" in response.get("content", {}):
                    response["content"]["text/event-stream"]["schema"] = EVENT


@schemathesis.hook
def before_call(context, case, kwargs):
    if case.meta is None:
        return
    numbers = {salt: number(case, salt) for salt in ("path", "query", "body", "stream")}
    if is_positive(case, ParameterLocation.PATH) and case.path_parameters:
        case.path_parameters = lead_path(case, numbers["path"])
    query, body = dict(case.query or {}), case.body
    if is_positive(case, ParameterLocation.QUERY):
        query = lead_query(case, query, numbers["query"])
    if is_positive(case, ParameterLocation.BODY) and not isinstance(body, NotSet):
        body = lead_body(case, body, numbers["body"])
    if case.operation.label in SUBMITS and case.meta.generation.mode.is_positive:
        query, body = lead_submit(case, query, body, numbers)
    if query != (case.query or {}):
        case.query = query
    if repr(body) != repr(case.body):
        case.body = body
    has_stream = case.operation.label in (*SUBMITS, "GET /api/v1/jobs/{handle}/log")
    if has_stream and case.meta.generation.mode.is_positive and numbers["stream"] % 4 == 0:
        case.headers["Accept"] = "text/event-stream"


def lead_path(case, number):
    last = case.path.rsplit("/", 1)[1]
    is_doomed = last == "purge" or case.method == "DELETE"
    # What a request gave to the next one stays.
    is_linked = case.meta.phase.name.value == "stateful"
    parameters = dict(case.path_parameters)
    for name in parameters:
        pool = {
            "handle": world.SCHEDULES if "/schedules/" in case.path else world.FIT_FOR.get(last, world.JOBS),
            "id": world.WORKERS,
            "function": world.DOOMED if is_doomed else world.FUNCTIONS,
            "pattern": world.PATTERNS,
        }[name]
        if is_doomed and name == "handle":
            pool = pool[:FEW]
        # Policies for what is submitted would take the bounds off that make everything end.
        if name == "pattern" or is_doomed and name == "function" or number % 5 and not is_linked:
            parameters[name] = pool[number // 5 % len(pool)]
    return parameters


def lead_query(case, query, number):
    if number % 8:
        query.pop("after", None)
    if "handle" in query and number % 4:
        query["handle"] = world.JOBS[number % len(world.JOBS)]
    if case.path == "/api/v1/load" and "from" in query and number % 4:
        query.pop("to", None)
        query["from"] = "2000-01-01T00:00:00Z"
    return query


def lead_body(case, body, number):
    if isinstance(body, list):
        return [lead_body(case, item, number) for item in body]
    if not isinstance(body, dict):
        return body
    body = dict(body)
    if case.path == "/api/v1/jobs/actions":
        return lead_actions(body, number)
    for name in ("function", "unique", "payload"):
        if body.get(name) is not None and number % 8:
            body.pop(f"{name}_base64", None)
    if body.get("at") is not None and number % 8:
        body.pop("delay", None)
    if "/schedules" in case.path and number % 8:
        if "cron" in body:
            body["cron"] = CRONS[number % len(CRONS)]
        if body.get("zone") is not None:
            body["zone"] = ZONES[number % len(ZONES)]
    if case.path in ("/api/v1/jobs", "/api/v1/schedules") or case.method == "PUT" and "/schedules/" in case.path:
        if body.get("function") is None and body.get("function_base64") is None and number % 8:
            body["function"] = world.FUNCTIONS[number % len(world.FUNCTIONS)]
    return body


def lead_actions(body, number):
    if body.get("action") != "priority":
        body.pop("priority", None)
    elif body.get("priority") is None:
        body["priority"] = "low"
    if number % 8:
        body.pop("after", None)
        if body.get("filter") is None:
            handles = body.get("handles") or []
            body.pop("limit", None)
            body["handles"] = handles[:990] + world.JOBS[:FEW][number % FEW : number % FEW + 3]
        else:
            body.pop("handles", None)
    # What holds or deletes all would leave nothing to be tested.
    if body.get("filter") is not None and not body.get("dry_run"):
        body["filter"] = {**body["filter"], "function": f"some{number % 4}.*"}
    return body


def lead_submit(case, query, body, numbers):
    if "at" in query and numbers["query"] % 8:
        query.pop("delay", None)
    is_followed = numbers["stream"] % 4 == 0
    if is_followed or str(query.get("wait")).lower() == "true":
        # Nobody comes for them, but the policy ends their wait; it counts from when they are due.
        for name in ("at", "delay"):
            query.pop(name, None)
        for job in body if isinstance(body, list) else [body]:
            if isinstance(job, dict):
                job.pop("at", None)
                job.pop("delay", None)
                if str(job.get("function")).startswith("job."):
                    job["function"] = "echo"
        if case.path_parameters and case.path_parameters["function"].startswith("job."):
            case.path_parameters = {"function": "echo"}
        if numbers["query"] % 8:
            case.headers.pop("idempotency-key", None)
    return query, body


@schemathesis.hook
def filter_failure(context, failure, case, response):
    if isinstance(failure, ServerError) and response.status_code == 503:
        # A policy that was set here says so, and the answer is the one that is meant for it.
        return response.json()["type"] != "/problems/queue-full"
    if isinstance(failure, RejectedPositiveData) and response.status_code in (400, 422):
        return not RULES.search(response.json()["detail"])
    return True


@schemathesis.deserializer("application/octet-stream")
def deserialize_bytes(context, response):
    return response.content.decode("latin-1")
