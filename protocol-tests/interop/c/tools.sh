# The tools "gearman" and "gearadmin". Usage: tools.sh WORKER, the program built from worker.c, which reports what
# the worker mode of "gearman" can't. Each function check_X is one check.

source "$(dirname "$0")/support.sh"
native_worker=$1

check_foreground() {
    gearman "${server[@]}" -w -f reverse -- rev &
    same olleh "$(echo hello | gearman "${server[@]}" -f reverse)"
    same olleh "$(gearman "${server[@]}" -f reverse hello)"
    same 'olleh dlrow' "$(gearman "${server[@]}" -f reverse 'world hello')"
}

check_no_input() {
    gearman "${server[@]}" -w -f size -- wc -c &
    same 0 "$(gearman "${server[@]}" -s -f size)"
}

check_one_job_a_line() {
    "$native_worker" echo reverse &
    printf 'ab\ncd\n' > input
    same $'\nba\ndc' "$(gearman "${server[@]}" -n -f reverse < input)"
    same badc "$(gearman "${server[@]}" -N -f reverse < input)"
    gearman "${server[@]}" -N -P -f echo -f reverse < input > output
    same 'echo: ab echo: cd reverse: ba reverse: dc' \
        "$(grep -oE '(echo|reverse): (ab|cd|ba|dc)' output | sort | xargs)"
    matches '^baTask created: H:|^Task created: H:.*ba$' "$(gearman "${server[@]}" -v -f reverse ab)"
}

check_background() {
    gearman "${server[@]}" -w -f append -- sh -c 'cat >> noted' &
    for priority in '' -I -L; do
        matches '^Task created: H:' "$(gearman "${server[@]}" -b -v $priority -f append x)"
    done
    wait_until queue append 0 0
    same xxx "$(cat noted)"
}

check_priorities() {
    gearman "${server[@]}" -b -L -f order 3
    gearman "${server[@]}" -b -f order 2
    gearman "${server[@]}" -b -I -f order 1
    gearman "${server[@]}" -w -f order -- sh -c 'cat >> noted' &
    wait_until queue order 0 0
    same 123 "$(cat noted)"
}

check_progress() {
    "$native_worker" progress &
    gearman "${server[@]}" -f progress x > output
    same '25% Complete 50% Complete 75% Complete 100% Complete' "$(grep -oE '[0-9]+% Complete' output | xargs)"
    grep -q arrived output
}

check_data() {
    "$native_worker" data &
    gearman "${server[@]}" -f data x > output
    printf 'onetwo\0threeend' | cmp - output
}

# One WORK_DATA for each line that the command writes. This version of the tool repeats the earlier lines in it.
check_data_from_a_command() {
    gearman "${server[@]}" -w -n -f with_newlines -- cat &
    gearman "${server[@]}" -w -N -f without -- cat &
    printf 'a\nb\n' > input
    same $'a\na\nb' "$(gearman "${server[@]}" -f with_newlines < input)"
    same $'aa\nb' "$(gearman "${server[@]}" -f without < input)"
}

check_warning() {
    "$native_worker" warning &
    same 'done all the same' "$(gearman "${server[@]}" -f warning x 2> warnings)"
    same careful "$(cat warnings)"
}

check_exception() { left_out 'gearman never asks for exceptions'; }

check_exception_without_option() {
    gearmand_is_wrong W6
    "$native_worker" exception &
    client_fails -f exception x
}

check_fail() {
    gearman "${server[@]}" -w -f fail -- false 2> /dev/null &
    client_fails -f fail x
    "$native_worker" fail &
    client_fails -f fail x
}

# The client must end by itself with exit code 1, saying so.
client_fails() {
    local code=0
    timeout 20 gearman "${server[@]}" "$@" 2> errors || code=$?
    same 1 $code
    same 'Job failed' "$(cat errors)"
}

check_unique() {
    gearman "${server[@]}" -u same -f unique x > first & clients=($!)
    gearman "${server[@]}" -u same -f unique x > second & clients+=($!)
    gearman "${server[@]}" -b -u same -f unique x
    # Two clients wait for one job: its unique id is listed once.
    wait_until both_attached
    gearman "${server[@]}" -w -f unique -- sh -c 'cat >> noted; echo result' &
    wait "${clients[@]}"
    same result "$(cat first)"
    same result "$(cat second)"
    same x "$(cat noted)"
}

both_attached() {
    [[ $(admin --show-unique-jobs) == $'same\n.' && $(admin --workers | grep -c ':$') == 3 ]]
}

check_status() { left_out 'no tool asks for the status of one job'; }

check_status_by_unique() { left_out 'no tool asks for the status of one job'; }

check_payloads() {
    gearman "${server[@]}" -w -f store -- sh -c 'cat > stored; cat stored' &
    # Every byte value, in numbered blocks: a lost or doubled piece shows.
    perl -e '$b = join "", map { chr } 0..255; print pack("N", $_), $b for 0 .. (20 << 20) / 256' > all
    for size in 0 1 65535 65536 65537 $((1024 * 1024 - 1)) $((1024 * 1024)) $((1024 * 1024 + 1)); do
        head -c $size all > payload
        gearman "${server[@]}" -f store < payload > result
        cmp payload result || fail "$size bytes"
    done

    "$native_worker" contents &
    head -c $((20 * 1024 * 1024)) all > payload
    gearman "${server[@]}" -f contents "$PWD/payload" > result
    cmp payload result || fail "a result of 20 MiB"
}

check_20_mib_of_input() {
    left_out 'gearman reads 1 KiB at a time and copies all that it has each time, which takes minutes'
}

check_worker_dies() {
    holding_worker
    gearman "${server[@]}" -f hold x > result &
    local client=$!
    wait_until lines 1 begun
    { kill -9 $worker && wait $worker; } 2> /dev/null || true
    holding_worker
    wait_until lines 2 begun
    touch release
    wait $client
    same released "$(cat result)"
}

holding_worker() {
    gearman "${server[@]}" -w -f hold -- \
        sh -c 'echo >> begun; until [ -e release ]; do sleep 0.01; done; echo released' &
    worker=$!
}

lines() { [[ -e $2 && $(wc -l < "$2") == "$1" ]]; }

check_reconnect() {
    gearman "${server[@]}" -w -f reverse -- rev &
    same olleh "$(gearman "${server[@]}" -f reverse hello)"
    restart_server
    same olleh "$(timeout 20 gearman "${server[@]}" -f reverse hello)"
}

check_job_count_and_pid_file() {
    gearman "${server[@]}" -w -c 2 -i pid -f reverse -- rev &
    local worker=$!
    gearman "${server[@]}" -f reverse one > /dev/null
    same $worker "$(tr -d ' \n' < pid)"
    gearman "${server[@]}" -f reverse two > /dev/null
    wait $worker
    test ! -e pid
}

check_client_timeout() {
    gearman "${server[@]}" -t 200 -f nobody x 2> errors || true
    grep -q TIMEOUT errors
}

check_admin_status() {
    gearman "${server[@]}" -b -f lonely x
    gearman "${server[@]}" -b -I -f lonely x
    admin --status > status
    grep -qx 'lonely	2	0	0' status
    same . "$(tail -n 1 status)"
    admin --priority-status > status
    grep -qx 'lonely	1	1	0	0' status
    same . "$(tail -n 1 status)"
}

check_admin_workers() {
    "$native_worker" id=by-name echo reverse &
    wait_until capable reverse 1
    admin --workers > workers
    grep -qE '^[0-9]+ 127\.0\.0\.1 by-name :( echo| reverse){2}$' workers
    same . "$(tail -n 1 workers)"
}

check_admin_show_jobs() {
    gearman "${server[@]}" -b -u an-id -f shown x
    admin --show-jobs > jobs
    grep -qE '^H:[^	]+	0	0	1$' jobs
    same . "$(tail -n 1 jobs)"
    admin --show-unique-jobs > ids
    grep -qx an-id ids
    same . "$(tail -n 1 ids)"
}

check_admin_server() {
    matches '^[0-9]+\.[0-9]+' "$(admin --server-version)"
    matches '^(FATAL|ALERT|CRITICAL|ERROR|WARNING|NOTICE|INFO|DEBUG)$' "$(admin --server-verbose)"
    kill -0 "$(admin --getpid)"
}

check_admin_functions() {
    same OK "$(admin --create-function made)"
    admin --status | grep -qx 'made	0	0	0'
    same OK "$(admin --drop-function made)"
    ! admin --status | grep -q '^made	'
    matches 'function not found' "$(admin --drop-function made 2>&1)"
    "$native_worker" echo &
    wait_until capable echo 1
    matches 'still connected workers' "$(admin --drop-function echo 2>&1)"
}

check_admin_cancel_job() {
    gearman "${server[@]}" -f cancelled x 2> errors &
    local client=$! code=0
    wait_until queue cancelled 1 0
    # The only foreground job that a client still waits for.
    local handle
    handle=$(admin --show-jobs | awk -F '\t' '$3 == 0 && $4 == 0 { print $1 }')
    same OK "$(admin --cancel-job "$handle")"
    wait $client || code=$?
    same 1 $code
    same 'Job failed' "$(cat errors)"
    matches UNKNOWN_JOB "$(admin --cancel-job H:no:1 2>&1)"
}

run_checks foreground no_input one_job_a_line background priorities progress data data_from_a_command warning \
    exception exception_without_option fail unique status status_by_unique payloads 20_mib_of_input \
    worker_dies reconnect job_count_and_pid_file client_timeout admin_status admin_workers admin_show_jobs \
    admin_server admin_functions admin_cancel_job
