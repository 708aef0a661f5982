/* A worker on libgearman: worker FUNCTION..., each one of the table at the end. "namespace=N" and "id=I" among
   the arguments set those; "timed" is registered with a time-out of one second. */

#include <libgearman/gearman.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void pause_briefly(void) { nanosleep(&(struct timespec){0, 5 * 1000 * 1000}, NULL); }

static char *text_of(gearman_job_st *job)
{
  return strndup(gearman_job_workload(job), gearman_job_workload_size(job));
}

static gearman_return_t send_data(gearman_job_st *job, const char *text)
{
  return gearman_job_send_data(job, text, strlen(text));
}

static gearman_return_t echo(gearman_job_st *job, void *context)
{
  (void)context;
  return gearman_job_send_complete(job, gearman_job_workload(job), gearman_job_workload_size(job));
}

static gearman_return_t nothing(gearman_job_st *job, void *context)
{
  (void)job, (void)context;
  return GEARMAN_SUCCESS; /* the library completes the job with an empty result */
}

/* In the older form of a worker function, which returns its result. */
static void *reverse(gearman_job_st *job, void *context, size_t *size, gearman_return_t *status)
{
  (void)context;
  const char *payload = gearman_job_workload(job);
  *size = gearman_job_workload_size(job);
  char *result = malloc(*size);
  for (size_t i = 0; i < *size; i++) {
    result[i] = payload[*size - 1 - i];
  }
  *status = GEARMAN_SUCCESS;
  return result;
}

/* Returns the contents of the file named by the payload. */
static gearman_return_t contents(gearman_job_st *job, void *context)
{
  (void)context;
  char *path = text_of(job);
  FILE *file = fopen(path, "r");
  free(path);
  if (!file || fseek(file, 0, SEEK_END) != 0) {
    return GEARMAN_FAIL;
  }
  size_t size = (size_t)ftell(file);
  rewind(file);
  char *bytes = malloc(size);
  bool all = fread(bytes, 1, size, file) == size;
  fclose(file);
  gearman_return_t rc = all ? gearman_job_send_complete(job, bytes, size) : GEARMAN_FAIL;
  free(bytes);
  return rc;
}

/* Appends the payload's second line to the file named by its first. */
static gearman_return_t note(gearman_job_st *job, void *context)
{
  (void)context;
  char *payload = text_of(job);
  char *text = strchr(payload, '\n');
  *text++ = '\0';
  FILE *file = fopen(payload, "a");
  bool written = file && fputs(text, file) >= 0;
  written = file && fclose(file) == 0 && written;
  free(payload);
  return written ? GEARMAN_SUCCESS : GEARMAN_FAIL;
}

/* Runs until the file named by the payload exists; says 3/7 meanwhile. */
static gearman_return_t hold_at(gearman_job_st *job, uint32_t numerator)
{
  char *path = text_of(job);
  gearman_return_t rc = gearman_job_send_status(job, numerator, 7);
  while (gearman_success(rc) && access(path, F_OK) != 0) {
    pause_briefly();
  }
  free(path);
  return gearman_success(rc) ? gearman_job_send_complete(job, "released", 8) : rc;
}

static gearman_return_t hold(gearman_job_st *job, void *context)
{
  (void)context;
  return hold_at(job, 3);
}

/* As hold, but its progress tells which process runs it. */
static gearman_return_t timed(gearman_job_st *job, void *context)
{
  (void)context;
  return hold_at(job, (uint32_t)getpid());
}

static gearman_return_t progress(gearman_job_st *job, void *context)
{
  (void)context;
  for (uint32_t step = 1; step <= 4; step++) {
    gearman_job_send_status(job, step, 4);
  }
  return gearman_job_send_complete(job, "arrived", 7);
}

static gearman_return_t data(gearman_job_st *job, void *context)
{
  (void)context;
  send_data(job, "one");
  gearman_job_send_data(job, "two\0", 4);
  send_data(job, "three");
  return gearman_job_send_complete(job, "end", 3);
}

static gearman_return_t warning(gearman_job_st *job, void *context)
{
  (void)context;
  gearman_job_send_warning(job, "careful", 7);
  return gearman_job_send_complete(job, "done all the same", 17);
}

static gearman_return_t exception(gearman_job_st *job, void *context)
{
  (void)context;
  return gearman_job_send_exception(job, "boom", 4);
}

static gearman_return_t fail(gearman_job_st *job, void *context)
{
  (void)context;
  return gearman_job_send_fail(job);
}

/* Splits its payload at blanks. The library sends each part to the reducer that the client named. */
static gearman_return_t split(gearman_job_st *job, void *context)
{
  (void)context;
  char *payload = text_of(job), *rest = NULL;
  for (char *word = strtok_r(payload, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
    send_data(job, word);
  }
  free(payload);
  return GEARMAN_SUCCESS;
}

/* Joins what the reducers returned. */
static gearman_return_t join(gearman_aggregator_st *aggregator, gearman_task_st *task, gearman_result_st *result)
{
  (void)aggregator;
  char joined[1024] = "";
  for (; task; task = gearman_next(task)) {
    gearman_result_st *part = gearman_task_result(task);
    strncat(joined, gearman_result_value(part), gearman_result_size(part));
    strcat(joined, " ");
  }
  return gearman_result_store_value(result, joined, strlen(joined));
}

static const struct {
  const char *name;
  gearman_function_fn *function;
} functions[] = {
    {"echo", echo},         {"nothing", nothing}, {"contents", contents}, {"note", note},
    {"hold", hold},         {"timed", timed},     {"progress", progress}, {"data", data},
    {"warning", warning},   {"exception", exception}, {"fail", fail},
};

static bool define(gearman_worker_st *worker, const char *name)
{
  size_t length = strlen(name);
  if (strcmp(name, "reverse") == 0) {
    return gearman_success(gearman_worker_add_function(worker, name, 0, reverse, NULL));
  }
  if (strcmp(name, "split") == 0) {
    gearman_function_t partition = gearman_function_create_partition(split, join);
    return gearman_success(gearman_worker_define_function(worker, name, length, partition, 0, NULL));
  }
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    if (strcmp(name, functions[i].name) == 0) {
      gearman_function_t function = gearman_function_create(functions[i].function);
      uint32_t milliseconds = strcmp(name, "timed") == 0 ? 1000 : 0;
      return gearman_success(
          gearman_worker_define_function(worker, name, length, function, milliseconds, NULL));
    }
  }
  return false;
}

int main(int count, char **arguments)
{
  gearman_worker_st *worker = gearman_worker_create(NULL);
  gearman_worker_add_server(worker, "127.0.0.1", (in_port_t)atoi(getenv("GEARMAN_PORT")));
  for (int i = 1; i < count; i++) {
    const char *argument = arguments[i];
    if (strncmp(argument, "namespace=", 10) == 0) {
      gearman_worker_set_namespace(worker, argument + 10, strlen(argument + 10));
    } else if (strncmp(argument, "id=", 3) == 0) {
      gearman_worker_set_identifier(worker, argument + 3, strlen(argument + 3));
    } else if (!define(worker, argument)) {
      fprintf(stderr, "worker: no function %s\n", argument);
      return 1;
    }
  }
  for (;;) {
    if (gearman_failed(gearman_worker_work(worker))) {
      pause_briefly(); /* the server is away; the next call connects again */
    }
  }
}
