/* libgearman as a worker or a client of the load. README.md tells what the words and lines mean. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libgearman/gearman.h>

static int journal;

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

/* One write a line: what was written before a SIGKILL stays. */
static void note(const char *line, size_t length)
{
    if (write(journal, line, length) != (ssize_t)length)
        fail("journal", strerror(errno));
}

static void note_id(char mark, const char *id, size_t id_length)
{
    char line[128];
    int length = snprintf(line, sizeof line, "%c %.*s\n", mark, (int)id_length, id);
    note(line, (size_t)length);
}

static size_t word(const char *text, size_t length)
{
    const char *end = memchr(text, ' ', length);
    return end ? (size_t)(end - text) : length;
}

/* Worker */

static gearman_return_t perform(gearman_job_st *job, void *context)
{
    const char *payload = gearman_job_workload(job);
    size_t length = gearman_job_workload_size(job);
    size_t id = word(payload, length);
    char result[128];

    (void)context;
    note_id('s', payload, id);
    long milliseconds = id < length ? strtol(payload + id, NULL, 10) : 0;
    if (milliseconds > 0) {
        struct timespec pause = { milliseconds / 1000, milliseconds % 1000 * 1000000 };
        nanosleep(&pause, NULL);
    }
    note_id('e', payload, id);
    int size = snprintf(result, sizeof result, "done %.*s", (int)id, payload);
    return gearman_job_send_complete(job, result, (size_t)size);
}

static void work(const char *host, in_port_t port, char **functions)
{
    gearman_worker_st *worker = gearman_worker_create(NULL);
    gearman_function_t function = gearman_function_create(perform);

    if (gearman_failed(gearman_worker_add_server(worker, host, port)))
        fail("add_server", gearman_worker_error(worker));
    for (; *functions; functions++)
        if (gearman_failed(gearman_worker_define_function(worker, *functions, strlen(*functions), function, 0, NULL)))
            fail("define_function", gearman_worker_error(worker));
    for (;;)
        if (gearman_failed(gearman_worker_work(worker)))
            fail("work", gearman_worker_error(worker));
}

/* Client */

struct planned {
    char id[32], mode[2], priority[2], function[32], unique[64];
    char *payload;
    size_t size;
};

static gearman_return_t created(gearman_task_st *task)
{
    const struct planned *job = gearman_task_context(task);
    char line[256];
    int length = snprintf(line, sizeof line, "a %s %s\n", job->id, gearman_task_job_handle(task));
    note(line, (size_t)length);
    return GEARMAN_SUCCESS;
}

static gearman_return_t completed(gearman_task_st *task)
{
    const struct planned *job = gearman_task_context(task);
    char line[256];
    int length = snprintf(line, sizeof line, "d %s %.*s\n", job->id, (int)gearman_task_data_size(task),
                          (const char *)gearman_task_data(task));
    note(line, (size_t)length);
    return GEARMAN_SUCCESS;
}

static gearman_return_t failed(gearman_task_st *task)
{
    const struct planned *job = gearman_task_context(task);
    note_id('f', job->id, strlen(job->id));
    return GEARMAN_SUCCESS;
}

typedef gearman_task_st *add_fn(gearman_client_st *, gearman_task_st *, void *, const char *, const char *, const void *, size_t,
                                gearman_return_t *);

static add_fn *adder(const struct planned *job)
{
    int background = job->mode[0] == 'b';
    switch (job->priority[0]) {
    case 'h': return background ? gearman_client_add_task_high_background : gearman_client_add_task_high;
    case 'l': return background ? gearman_client_add_task_low_background : gearman_client_add_task_low;
    default: return background ? gearman_client_add_task_background : gearman_client_add_task;
    }
}

static void run_batch(gearman_client_st *client, struct planned *batch, size_t count)
{
    char *lines = malloc(count * 40), *end = lines;
    for (size_t i = 0; i < count; i++)
        end += sprintf(end, "+ %s\n", batch[i].id);
    note(lines, (size_t)(end - lines));
    free(lines);
    for (size_t i = 0; i < count; i++) {
        struct planned *job = &batch[i];
        const char *unique = strcmp(job->unique, "-") ? job->unique : NULL;
        gearman_return_t rc;
        adder(job)(client, NULL, job, job->function, unique, job->payload, job->size, &rc);
        if (gearman_failed(rc))
            fail("add_task", gearman_client_error(client));
    }
    if (gearman_failed(gearman_client_run_tasks(client)))
        fail("run_tasks", gearman_client_error(client));
    for (size_t i = 0; i < count; i++)
        free(batch[i].payload);
}

static void submit(const char *host, in_port_t port, const char *plan)
{
    enum { MOST = 1000 };
    static struct planned batch[MOST];
    gearman_client_st *client = gearman_client_create(NULL);
    FILE *lines = fopen(plan, "r");
    char line[256];
    size_t count = 0;

    if (!lines)
        fail(plan, strerror(errno));
    if (gearman_failed(gearman_client_add_server(client, host, port)))
        fail("add_server", gearman_client_error(client));
    /* A task that has ended must leave the list, or it takes the second result of a handle that two tasks share. */
    gearman_client_add_options(client, GEARMAN_CLIENT_FREE_TASKS);
    gearman_client_set_created_fn(client, created);
    gearman_client_set_complete_fn(client, completed);
    gearman_client_set_fail_fn(client, failed);
    while (fgets(line, sizeof line, lines)) {
        struct planned *job = &batch[count];
        int milliseconds, padding;
        if (sscanf(line, "%31s %1s %1s %31s %63s %d %d", job->id, job->mode, job->priority, job->function, job->unique, &milliseconds,
                   &padding) == 7) {
            job->payload = malloc(strlen(job->id) + 16 + (size_t)padding);
            job->size = (size_t)sprintf(job->payload, "%s %d ", job->id, milliseconds);
            memset(job->payload + job->size, 'x', (size_t)padding);
            job->size += (size_t)padding;
            if (++count == MOST)
                fail(plan, "a batch is too long");
        } else {
            run_batch(client, batch, count);
            count = 0;
        }
    }
    note(".\n", 2);
}

int main(int argc, char **argv)
{
    if (argc < 6)
        fail("usage", "worker|client HOST PORT JOURNAL FUNCTION...|PLAN");
    journal = open(argv[4], O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (journal < 0)
        fail(argv[4], strerror(errno));
    in_port_t port = (in_port_t)atoi(argv[3]);
    if (!strcmp(argv[1], "worker"))
        work(argv[2], port, argv + 5);
    else
        submit(argv[2], port, argv[5]);
    return 0;
}
