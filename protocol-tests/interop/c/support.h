/* What the checks share: clients, worker processes, awaited conditions, and the report. */
#pragma once

#include <libgearman/gearman.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Ends the check unless the condition holds. */
#define CHECK(condition)                                                                                     \
  do {                                                                                                       \
    if (!(condition)) {                                                                                      \
      give_up("%s:%d: not true: %s", __FILE__, __LINE__, #condition);                                        \
    }                                                                                                        \
  } while (0)

/* Evaluates the condition again and again until it holds. */
#define WAIT_UNTIL(condition)                                                                                \
  for (double end = now() + PATIENCE; !(condition);) {                                                       \
    pause_briefly();                                                                                         \
    if (now() > end) {                                                                                       \
      give_up("%s:%d: waited in vain until %s", __FILE__, __LINE__, #condition);                             \
    }                                                                                                        \
  }

enum { PATIENCE = 20 /* seconds that any awaited thing may take */ };

/* A check returns NULL, or the reason why it was left out. */
typedef struct {
  const char *name;
  const char *(*run)(void);
} check_t;

/* Total and running jobs, and capable workers, of a function. */
typedef struct {
  int total, running, workers;
} queue_t;

bool against_gearmand(void);
gearman_client_st *new_client(void);
gearman_client_st *new_client_with_exceptions(void);

/* Starts the program built from worker.c; it dies with the check. */
pid_t start_worker(const char *arguments);
void kill_worker(pid_t worker);

queue_t queue(const char *function);
bool somebody_is_called(const char *id);
void restart_server(void);

/* A path that does not exist yet; what such a file holds; an empty file there. */
const char *fresh_path(void);
const char *contents(const char *path);
void touch(const char *path);

/* printf into a new string. */
char *text(const char *format, ...);

void same(const char *expected, const char *actual, const char *what);
void succeeded(gearman_client_st *client, gearman_return_t rc);
double now(void);
double wall_clock(void); /* finer than time(), which may be some milliseconds late */
void pause_briefly(void);
_Noreturn void give_up(const char *format, ...);

/* Runs each check in a process of its own and reports it. Returns the exit code. */
int run_checks(const check_t *checks, size_t count);
