/* libgearman as client and, in worker.c, as worker. Usage: libgearman WORKER, the program built from worker.c.
   Each function in the table at the end is one check; it returns a reason if it was left out. */

#include "support.h"

#include <stdio.h>
#include <time.h>

const char *worker_program;

typedef void *do_call(gearman_client_st *, const char *, const char *, const void *, size_t, size_t *,
                      gearman_return_t *);
typedef gearman_return_t background_call(gearman_client_st *, const char *, const char *, const void *, size_t,
                                         gearman_job_handle_t);
typedef gearman_task_st *task_call(gearman_client_st *, gearman_task_st *, void *, const char *, const char *,
                                   const void *, size_t, gearman_return_t *);

/* The result of a foreground job, as text. */
static char *result_of(gearman_client_st *client, do_call *call, const char *function, const char *payload)
{
  size_t size;
  gearman_return_t rc;
  char *result = call(client, function, NULL, payload, strlen(payload), &size, &rc);
  succeeded(client, rc);
  return text("%.*s", (int)size, result ? result : "");
}

static gearman_return_t outcome_of(gearman_client_st *client, const char *function)
{
  size_t size;
  gearman_return_t rc;
  gearman_client_do(client, function, NULL, "x", 1, &size, &rc);
  return rc;
}

static char *background_job(gearman_client_st *client, background_call *call, const char *function,
                            const char *unique, const char *payload)
{
  char *handle = calloc(1, sizeof(gearman_job_handle_t));
  succeeded(client, call(client, function, unique, payload, strlen(payload), handle));
  return handle;
}

static void add_task(gearman_client_st *client, task_call *call, const char *function, const char *unique,
                     const char *payload)
{
  gearman_return_t rc;
  CHECK(call(client, NULL, NULL, function, unique, payload, strlen(payload), &rc));
  succeeded(client, rc);
}

/* "known running numerator/denominator" of a job. */
static char *status_of(gearman_client_st *client, const char *handle)
{
  bool known, running;
  uint32_t numerator, denominator;
  succeeded(client, gearman_client_job_status(client, handle, &known, &running, &numerator, &denominator));
  return text("%d %d %u/%u", known, running, numerator, denominator);
}

static bool is(const char *expected, const char *actual) { return strcmp(expected, actual) == 0; }

/* ---- what a client's callbacks saw, in order ---- */

static char events[4096];

static gearman_return_t saw(const char *what, gearman_task_st *task)
{
  int size = (int)gearman_task_data_size(task);
  char *data = text("%.*s", size, size ? (const char *)gearman_task_data(task) : "");
  strcat(events, text("%s%s%s%s", *events ? ", " : "", what, size ? " " : "", data));
  return GEARMAN_SUCCESS;
}

static gearman_return_t saw_status(gearman_task_st *task)
{
  char *what = text("status %u/%u", gearman_task_numerator(task), gearman_task_denominator(task));
  strcat(events, text("%s%s", *events ? ", " : "", what));
  return GEARMAN_SUCCESS;
}

static gearman_return_t saw_data(gearman_task_st *task) { return saw("data", task); }
static gearman_return_t saw_warning(gearman_task_st *task) { return saw("warning", task); }
static gearman_return_t saw_complete(gearman_task_st *task) { return saw("complete", task); }
static gearman_return_t saw_exception(gearman_task_st *task) { return saw("exception", task); }
static gearman_return_t saw_fail(gearman_task_st *task) { return saw("fail", task); }

static void watch(gearman_client_st *client)
{
  gearman_client_set_status_fn(client, saw_status);
  gearman_client_set_data_fn(client, saw_data);
  gearman_client_set_warning_fn(client, saw_warning);
  gearman_client_set_complete_fn(client, saw_complete);
  gearman_client_set_exception_fn(client, saw_exception);
  gearman_client_set_fail_fn(client, saw_fail);
}

static const char *events_of(gearman_client_st *client, const char *function)
{
  *events = '\0';
  watch(client);
  add_task(client, gearman_client_add_task, function, NULL, "x");
  succeeded(client, gearman_client_run_tasks(client));
  return events;
}

/* ---- checks ---- */

static const char *foreground(void)
{
  start_worker("reverse");
  gearman_client_st *client = new_client();
  same("olleh", result_of(client, gearman_client_do, "reverse", "hello"), "normal");
  same("olleh", result_of(client, gearman_client_do_high, "reverse", "hello"), "high");
  same("olleh", result_of(client, gearman_client_do_low, "reverse", "hello"), "low");
  return NULL;
}

static const char *echo(void)
{
  gearman_client_st *client = new_client();
  succeeded(client, gearman_client_echo(client, "a\0b\n", 4));
  return NULL;
}

static const char *background(void)
{
  start_worker("note");
  gearman_client_st *client = new_client();
  background_call *calls[] = {gearman_client_do_background, gearman_client_do_high_background,
                              gearman_client_do_low_background};
  for (int i = 0; i < 3; i++) {
    const char *file = fresh_path();
    char *handle = background_job(client, calls[i], "note", NULL, text("%s\nx", file));
    WAIT_UNTIL(is("0 0 0/0", status_of(client, handle)));
    same("x", contents(file), "the file that the job wrote");
  }
  return NULL;
}

static const char *priorities(void)
{
  gearman_client_st *client = new_client();
  const char *file = fresh_path();
  background_job(client, gearman_client_do_low_background, "note", NULL, text("%s\n3", file));
  background_job(client, gearman_client_do_background, "note", NULL, text("%s\n2", file));
  background_job(client, gearman_client_do_high_background, "note", NULL, text("%s\n1", file));
  CHECK(queue("note").total == 3);
  start_worker("note");
  WAIT_UNTIL(queue("note").total == 0);
  same("123", contents(file), "order");
  return NULL;
}

static const char *progress(void)
{
  start_worker("progress");
  same("status 1/4, status 2/4, status 3/4, status 4/4, complete arrived", events_of(new_client(), "progress"),
       "events");
  return NULL;
}

static const char *data(void)
{
  start_worker("data");
  same("data one, data two, data three, complete end", events_of(new_client(), "data"), "events");
  size_t size;
  gearman_return_t rc;
  char *result = gearman_client_do(new_client(), "data", NULL, "x", 1, &size, &rc);
  CHECK(gearman_success(rc) && size == 15 && memcmp(result, "onetwo\0threeend", size) == 0);
  return NULL;
}

static const char *warning(void)
{
  start_worker("warning");
  same("warning careful, complete done all the same", events_of(new_client(), "warning"), "events");
  return NULL;
}

static const char *exception(void)
{
  start_worker("exception reverse");
  gearman_client_st *client = new_client_with_exceptions();
  same("exception boom", events_of(client, "exception"), "events");
  CHECK(outcome_of(new_client_with_exceptions(), "exception") == GEARMAN_WORK_EXCEPTION);
  same("olleh", result_of(client, gearman_client_do, "reverse", "hello"), "the next job");
  return NULL;
}

static const char *exception_without_option(void)
{
  if (against_gearmand()) {
    return "gearmand W6";
  }
  start_worker("exception reverse");
  gearman_client_st *client = new_client();
  same("fail", events_of(client, "exception"), "events");
  CHECK(outcome_of(new_client(), "exception") == GEARMAN_WORK_FAIL);
  same("olleh", result_of(client, gearman_client_do, "reverse", "hello"), "the next job");
  return NULL;
}

static const char *fail(void)
{
  start_worker("fail reverse");
  gearman_client_st *client = new_client();
  same("fail", events_of(client, "fail"), "events");
  CHECK(outcome_of(client, "fail") == GEARMAN_WORK_FAIL);
  same("olleh", result_of(client, gearman_client_do, "reverse", "hello"), "the next job");
  return NULL;
}

/* Starts the worker once both tasks are created, so that they are sure to meet. */
static gearman_return_t start_when_two_are_created(gearman_task_st *task)
{
  static int created;
  (void)task;
  if (++created == 2) {
    start_worker("note");
  }
  return GEARMAN_SUCCESS;
}

static const char *unique(void)
{
  gearman_client_st *client = new_client();
  const char *file = fresh_path();
  *events = '\0';
  watch(client);
  gearman_client_set_created_fn(client, start_when_two_are_created);
  /* Without this the library takes the second result for the first task again, and waits for ever. */
  gearman_client_add_options(client, GEARMAN_CLIENT_FREE_TASKS);
  add_task(client, gearman_client_add_task, "note", "same", text("%s\nx", file));
  add_task(client, gearman_client_add_task_high, "note", "same", text("%s\nx", file));
  succeeded(client, gearman_client_run_tasks(client));
  same("complete, complete", events, "events");
  same("x", contents(file), "what ran");
  return NULL;
}

/* "#" asks the library to make the id from the payload, "-" asks the server. */
static const char *unique_by_payload(void)
{
  gearman_client_st *client = new_client();
  const char *ids[] = {"#", "-"};
  for (int i = 0; i < 2; i++) {
    char *first = background_job(client, gearman_client_do_background, "nobody", ids[i], "a");
    char *equal = background_job(client, gearman_client_do_background, "nobody", ids[i], "a");
    char *other = background_job(client, gearman_client_do_background, "nobody", ids[i], "b");
    same(first, equal, "handle of the same payload");
    CHECK(!is(first, other));
  }
  return NULL;
}

static const char *status(void)
{
  const char *file = fresh_path();
  gearman_client_st *client = new_client();
  char *handle = background_job(client, gearman_client_do_background, "hold", NULL, file);
  same("1 0 0/0", status_of(client, handle), "status in the queue");
  start_worker("hold");
  WAIT_UNTIL(is("1 1 3/7", status_of(client, handle)));

  gearman_return_t rc;
  gearman_task_st *task = gearman_client_add_task_status(client, NULL, NULL, handle, &rc);
  succeeded(client, gearman_client_run_tasks(client));
  CHECK(gearman_task_is_known(task) && gearman_task_is_running(task));
  CHECK(gearman_task_numerator(task) == 3 && gearman_task_denominator(task) == 7);

  touch(file);
  WAIT_UNTIL(is("0 0 0/0", status_of(client, handle)));
  return NULL;
}

static gearman_status_t status_of_unique(const char *unique)
{
  /* A new client each time: after this call libgearman loses track of its connection's submits. */
  gearman_client_st *client = new_client();
  gearman_status_t status = gearman_client_unique_status(client, unique, strlen(unique));
  succeeded(client, gearman_status_return(status));
  gearman_client_free(client);
  return status;
}

static const char *status_by_unique(void)
{
  const char *file = fresh_path();
  background_job(new_client(), gearman_client_do_background, "hold", "find me", file);
  gearman_status_t status = status_of_unique("find me");
  CHECK(gearman_status_is_known(status) && !gearman_status_is_running(status));
  start_worker("hold");
  WAIT_UNTIL(gearman_status_numerator(status_of_unique("find me")) == 3);
  status = status_of_unique("find me");
  CHECK(gearman_status_is_known(status) && gearman_status_is_running(status));
  CHECK(gearman_status_denominator(status) == 7);
  touch(file);
  WAIT_UNTIL(!gearman_status_is_known(status_of_unique("find me")));
  return NULL;
}

/* Every byte value, in numbered blocks: a lost or doubled piece shows. */
static char *payload_of(size_t size)
{
  char *payload = malloc(size + 260);
  for (size_t at = 0; at < size; at += 260) {
    snprintf(payload + at, 260, "%4zu", at / 260 % 10000);
    for (size_t i = 0; i < 256; i++) {
      payload[at + 4 + i] = (char)i;
    }
  }
  return payload;
}

static const char *payloads(void)
{
  start_worker("echo nothing");
  gearman_client_st *client = new_client();
  size_t sizes[] = {0, 1, 65535, 65536, 65537, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 20 << 20};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    size_t size;
    gearman_return_t rc;
    char *payload = sizes[i] ? payload_of(sizes[i]) : NULL; /* the library takes no other empty payload */
    char *result = gearman_client_do(client, "echo", NULL, payload, sizes[i], &size, &rc);
    succeeded(client, rc);
    CHECK(size == sizes[i]);
    CHECK(size == 0 || memcmp(payload, result, size) == 0);
    free(payload);
    free(result);
  }
  same("", result_of(client, gearman_client_do, "nothing", "x"), "an empty result");
  return NULL;
}

static pid_t holder;
static const char *release;

static gearman_return_t kill_the_first_holder(gearman_task_st *task)
{
  (void)task;
  static int begun;
  if (++begun == 1) {
    kill_worker(holder);
    start_worker("hold");
  } else {
    touch(release);
  }
  return GEARMAN_SUCCESS;
}

static const char *worker_dies(void)
{
  *events = '\0';
  holder = start_worker("hold");
  release = fresh_path();
  gearman_client_st *client = new_client();
  gearman_client_set_status_fn(client, kill_the_first_holder);
  gearman_client_set_complete_fn(client, saw_complete);
  add_task(client, gearman_client_add_task, "hold", NULL, release);
  succeeded(client, gearman_client_run_tasks(client));
  same("complete released", events, "events");
  return NULL;
}

/* The worker gave a time-out of a second with its function; another one gets the job after it. */
static const char *time_out(void)
{
  const char *file = fresh_path();
  gearman_client_st *client = new_client();
  char *handle = background_job(client, gearman_client_do_background, "timed", NULL, file);
  pid_t first = start_worker("timed");
  WAIT_UNTIL(is(text("1 1 %d/7", (int)first), status_of(client, handle)));
  pid_t second = start_worker("timed");
  WAIT_UNTIL(is(text("1 1 %d/7", (int)second), status_of(client, handle)));
  touch(file);
  WAIT_UNTIL(is("0 0 0/0", status_of(client, handle)));
  return NULL;
}

static const char *task_list(void)
{
  start_worker("reverse");
  start_worker("reverse note");
  gearman_client_st *client = new_client();
  const char *file = fresh_path();
  *events = '\0';
  watch(client);
  task_call *foreground_calls[] = {gearman_client_add_task, gearman_client_add_task_high,
                                   gearman_client_add_task_low};
  task_call *background_calls[] = {gearman_client_add_task_background, gearman_client_add_task_high_background,
                                   gearman_client_add_task_low_background};
  for (int i = 0; i < 30; i++) {
    add_task(client, foreground_calls[i % 3], "reverse", NULL, text("%d", 10 + i));
    add_task(client, background_calls[i % 3], "note", NULL, text("%s\nx", file));
  }
  succeeded(client, gearman_client_run_tasks(client));
  for (int i = 0; i < 30; i++) {
    CHECK(strstr(events, text("complete %d%d", i % 10, i / 10 + 1)));
  }
  WAIT_UNTIL(queue("note").total == 0);
  same("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", contents(file), "what the background tasks wrote");
  return NULL;
}

static gearman_task_st *execute(gearman_client_st *client, const char *function, gearman_task_attr_t *kind,
                                const char *payload)
{
  gearman_argument_t argument = gearman_argument_make(NULL, 0, payload, strlen(payload));
  gearman_task_st *task = gearman_execute(client, function, strlen(function), NULL, 0, kind, &argument, NULL);
  if (!task) {
    give_up("gearman_execute: %s", gearman_client_error(client));
  }
  succeeded(client, gearman_task_return(task));
  return task;
}

static char *result_of_task(gearman_task_st *task)
{
  gearman_result_st *result = gearman_task_result(task);
  return text("%.*s", (int)gearman_result_size(result), gearman_result_value(result));
}

static const char *executed_tasks(void)
{
  start_worker("reverse note");
  gearman_client_st *client = new_client();
  same("olleh", result_of_task(execute(client, "reverse", NULL, "hello")), "foreground");
  const char *file = fresh_path();
  gearman_task_attr_t kind = gearman_task_attr_init_background(GEARMAN_JOB_PRIORITY_HIGH);
  gearman_task_st *task = execute(client, "note", &kind, text("%s\nx", file));
  WAIT_UNTIL(is("0 0 0/0", status_of(client, gearman_task_job_handle(task))));
  same("x", contents(file), "background");
  return NULL;
}

static const char *epoch(void)
{
  start_worker("note");
  gearman_client_st *client = new_client();
  const char *file = fresh_path();
  time_t due = (time_t)wall_clock() + 2;
  gearman_task_attr_t kind = gearman_task_attr_init_epoch(due, GEARMAN_JOB_PRIORITY_NORMAL);
  gearman_task_st *task = execute(client, "note", &kind, text("%s\nx", file));
  char *handle = text("%s", gearman_task_job_handle(task));
  same("1 0 0/0", status_of(client, handle), "status before its time");
  if (against_gearmand()) { /* its 1.1.20 wakes nobody when the job is due (section 0); another job does */
    WAIT_UNTIL(wall_clock() > (double)due);
    background_job(client, gearman_client_do_background, "note", NULL, text("%s\n", fresh_path()));
  }
  WAIT_UNTIL(is("0 0 0/0", status_of(client, handle)));
  CHECK(wall_clock() >= (double)due);
  same("x", contents(file), "the file that the job wrote");
  return NULL;
}

static const char *reduce(void)
{
  start_worker("split");
  start_worker("reverse");
  gearman_client_st *client = new_client();
  gearman_argument_t argument = gearman_argument_make(NULL, 0, "ab cd ef", 8);
  gearman_task_st *task =
      gearman_execute_by_partition(client, "split", 5, "reverse", 7, NULL, 0, NULL, &argument, NULL);
  if (!task) {
    give_up("gearman_execute_by_partition: %s", gearman_client_error(client));
  }
  char *joined = result_of_task(task);
  CHECK(strlen(joined) == 9 && strstr(joined, "ba ") && strstr(joined, "dc ") && strstr(joined, "fe "));

  gearman_task_attr_t kind = gearman_task_attr_init_background(GEARMAN_JOB_PRIORITY_NORMAL);
  task = gearman_execute_by_partition(client, "split", 5, "reverse", 7, NULL, 0, &kind, &argument, NULL);
  CHECK(task && gearman_success(gearman_task_return(task)));
  WAIT_UNTIL(queue("split").total == 0 && queue("reverse").total == 0);
  return NULL;
}

/* The library reports a failure for the job, which only its worker may do: refused, and the job stays. */
static const char *cancel(void)
{
  gearman_client_st *client = new_client();
  char *handle = background_job(client, gearman_client_do_background, "nobody", NULL, "x");
  CHECK(gearman_client_cancel_job(client, handle) == GEARMAN_JOB_NOT_FOUND);
  same("1 0 0/0", status_of(client, handle), "status afterwards");
  gearman_job_handle_t unknown = "H:no:1";
  CHECK(gearman_client_cancel_job(client, unknown) == GEARMAN_JOB_NOT_FOUND);
  return NULL;
}

static const char *names(void)
{
  start_worker("namespace=mine id=worker-by-name reverse");
  gearman_client_st *client = new_client();
  gearman_client_set_namespace(client, "mine", 4);
  succeeded(client, gearman_client_set_identifier(client, "client-by-name", strlen("client-by-name")));
  same("olleh", result_of(client, gearman_client_do, "reverse", "hello"), "result");
  CHECK(queue("minereverse").workers == 1);
  CHECK(somebody_is_called("worker-by-name") && somebody_is_called("client-by-name"));
  return NULL;
}

static const char *non_blocking(void)
{
  start_worker("reverse");
  gearman_client_st *client = new_client();
  gearman_client_add_options(client, GEARMAN_CLIENT_NON_BLOCKING);
  *events = '\0';
  watch(client);
  add_task(client, gearman_client_add_task, "reverse", NULL, "hello");
  gearman_return_t rc;
  while ((rc = gearman_client_run_tasks(client)) == GEARMAN_IO_WAIT) {
    succeeded(client, gearman_client_wait(client));
  }
  succeeded(client, rc);
  same("complete olleh", events, "events");
  return NULL;
}

static const char *worker_by_hand(void)
{
  gearman_client_st *client = new_client();
  background_job(client, gearman_client_do_background, "by hand", "an id", "hello");
  gearman_worker_st *worker = gearman_worker_create(NULL);
  gearman_worker_add_server(worker, "127.0.0.1", (in_port_t)atoi(getenv("GEARMAN_PORT")));
  gearman_worker_set_timeout(worker, PATIENCE * 1000);
  CHECK(gearman_success(gearman_worker_echo(worker, "ping", 4)));
  CHECK(gearman_success(gearman_worker_register(worker, "by hand", 0)));
  gearman_return_t rc;
  gearman_job_st *job = gearman_worker_grab_job(worker, NULL, &rc);
  CHECK(job && gearman_success(rc));
  same("an id", gearman_job_unique(job), "unique id");
  same("by hand", gearman_job_function_name(job), "function");
  CHECK(gearman_success(gearman_job_send_complete(job, "", 0)));
  CHECK(gearman_success(gearman_worker_unregister(worker, "by hand")));
  CHECK(gearman_success(gearman_worker_echo(worker, "ping", 4)));
  CHECK(queue("by hand").total == 0 && queue("by hand").workers == 0);
  return NULL;
}

static bool works(gearman_client_st *client)
{
  size_t size;
  gearman_return_t rc;
  char *result = gearman_client_do(client, "reverse", NULL, "hello", 5, &size, &rc);
  return gearman_success(rc) && size == 5 && memcmp(result, "olleh", 5) == 0;
}

static const char *reconnect(void)
{
  start_worker("reverse");
  gearman_client_st *client = new_client_with_exceptions();
  CHECK(works(client));
  restart_server();
  WAIT_UNTIL(works(client)); /* the library tells of the lost connection once, then connects again */
  return NULL;
}

int main(int count, char **arguments)
{
  static const check_t checks[] = {
      {"foreground", foreground},
      {"echo", echo},
      {"background", background},
      {"priorities", priorities},
      {"progress", progress},
      {"data", data},
      {"warning", warning},
      {"exception", exception},
      {"exception_without_option", exception_without_option},
      {"fail", fail},
      {"unique", unique},
      {"unique_by_payload", unique_by_payload},
      {"status", status},
      {"status_by_unique", status_by_unique},
      {"payloads", payloads},
      {"worker_dies", worker_dies},
      {"time_out", time_out},
      {"task_list", task_list},
      {"executed_tasks", executed_tasks},
      {"epoch", epoch},
      {"reduce", reduce},
      {"cancel", cancel},
      {"names", names},
      {"non_blocking", non_blocking},
      {"worker_by_hand", worker_by_hand},
      {"reconnect", reconnect},
  };
  if (count != 2) {
    give_up("usage: libgearman WORKER");
  }
  worker_program = arguments[1];
  return run_checks(checks, sizeof checks / sizeof *checks);
}
