#define _GNU_SOURCE
#include "support.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

extern const char *worker_program;

static FILE *dial(const char *port)
{
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
    give_up("port %s: %s", port, strerror(errno));
  }
  return fdopen(fd, "r+");
}

bool against_gearmand(void) { return strcmp(getenv("TARGET"), "gearmand") == 0; }

gearman_client_st *new_client(void)
{
  gearman_client_st *client = gearman_client_create(NULL);
  succeeded(client, gearman_client_add_server(client, "127.0.0.1", (in_port_t)atoi(getenv("GEARMAN_PORT"))));
  gearman_client_set_timeout(client, PATIENCE * 1000);
  return client;
}

gearman_client_st *new_client_with_exceptions(void)
{
  gearman_client_st *client = new_client();
  CHECK(gearman_client_set_server_option(client, "exceptions", strlen("exceptions")));
  return client;
}

pid_t start_worker(const char *arguments)
{
  pid_t worker = fork();
  if (worker == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    char *words[16] = {(char *)worker_program}, *rest = NULL;
    char *word = strtok_r(text("%s", arguments), " ", &rest);
    for (size_t i = 1; word && i < 15; word = strtok_r(NULL, " ", &rest)) {
      words[i++] = word;
    }
    execv(worker_program, words);
    give_up("%s: %s", worker_program, strerror(errno));
  }
  return worker;
}

void kill_worker(pid_t worker)
{
  kill(worker, SIGKILL);
  waitpid(worker, NULL, 0);
}

queue_t queue(const char *function)
{
  FILE *server = dial(getenv("GEARMAN_PORT"));
  fputs("status\n", server);
  fflush(server);
  char line[1024], name[512];
  queue_t found = {0, 0, 0}, row;
  while (fgets(line, sizeof line, server) && strcmp(line, ".\n") != 0) {
    if (sscanf(line, "%511s %d %d %d", name, &row.total, &row.running, &row.workers) == 4
        && strcmp(name, function) == 0) {
      found = row;
    }
  }
  fclose(server);
  return found;
}

bool somebody_is_called(const char *id)
{
  FILE *server = dial(getenv("GEARMAN_PORT"));
  fputs("workers\n", server);
  fflush(server);
  char line[1024], name[256];
  bool found = false;
  while (fgets(line, sizeof line, server) && strcmp(line, ".\n") != 0) {
    found |= sscanf(line, "%*s %*s %255s", name) == 1 && strcmp(name, id) == 0;
  }
  fclose(server);
  return found;
}

void restart_server(void)
{
  FILE *control = dial(getenv("CONTROL_PORT"));
  fputs("restart\n", control);
  fflush(control);
  char answer[1024] = "";
  CHECK(fgets(answer, sizeof answer, control));
  same("ok\n", answer, "answer to restart");
  fclose(control);
}

const char *fresh_path(void)
{
  static int number;
  const char *directory = getenv("TMPDIR");
  return text("%s/libgearman-%d-%d", directory ? directory : "/tmp", (int)getpid(), ++number);
}

const char *contents(const char *path)
{
  char *bytes = calloc(1, 1024);
  FILE *file = fopen(path, "r");
  if (!file) {
    give_up("%s: %s", path, strerror(errno));
  }
  (void)!fread(bytes, 1, 1023, file);
  fclose(file);
  return bytes;
}

void touch(const char *path)
{
  FILE *file = fopen(path, "w");
  CHECK(file && fclose(file) == 0);
}

char *text(const char *format, ...)
{
  char *result = NULL;
  va_list arguments;
  va_start(arguments, format);
  CHECK(vasprintf(&result, format, arguments) >= 0);
  va_end(arguments);
  return result;
}

void same(const char *expected, const char *actual, const char *what)
{
  if (!actual || strcmp(expected, actual) != 0) {
    give_up("%s: expected '%s', not '%s'", what, expected, actual ? actual : "(nothing)");
  }
}

void succeeded(gearman_client_st *client, gearman_return_t rc)
{
  if (gearman_failed(rc)) {
    give_up("%s: %s", gearman_strerror(rc), gearman_client_error(client));
  }
}

static double seconds_of(clockid_t clock)
{
  struct timespec time;
  clock_gettime(clock, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

double now(void) { return seconds_of(CLOCK_MONOTONIC); }

double wall_clock(void) { return seconds_of(CLOCK_REALTIME); }

void pause_briefly(void) { nanosleep(&(struct timespec){0, 5 * 1000 * 1000}, NULL); }

_Noreturn void give_up(const char *format, ...)
{
  va_list arguments;
  va_start(arguments, format);
  vprintf(format, arguments);
  va_end(arguments);
  putchar('\n');
  fflush(stdout);
  _exit(1);
}

int run_checks(const check_t *checks, size_t count)
{
  int failed = 0;
  for (size_t i = 0; i < count; i++) {
    fflush(stdout);
    pid_t check = fork();
    if (check == 0) {
      const char *left_out = checks[i].run();
      printf(left_out ? "n/a %s: %s\n" : "ok %s\n", checks[i].name, left_out);
      fflush(stdout);
      _exit(0);
    }
    int status;
    waitpid(check, &status, 0);
    if (status != 0) {
      printf("FAILED %s\n", checks[i].name);
      failed = 1;
    }
  }
  return failed;
}
