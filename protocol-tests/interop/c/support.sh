# What the checks share: the server's address, awaited conditions, comparison, and the report.

server=(-h 127.0.0.1 -p "$GEARMAN_PORT")
patience=20 # seconds that any awaited thing may take
export TMPDIR=${TMPDIR:-/tmp}

admin() { gearadmin "${server[@]}" "$@"; }

# wait_until COMMAND...: until it succeeds.
wait_until() {
    local end=$((SECONDS + patience))
    until "$@"; do
        ((SECONDS < end)) || fail "waited in vain until $*"
        sleep 0.01
    done
}

# queue FUNCTION TOTAL RUNNING: "gearadmin --status" says so.
queue() { admin --status | grep -q "^$1	$2	$3	"; }

capable() { admin --status | grep -q "^$1	[0-9]*	[0-9]*	$2\$"; }

restart_server() {
    local answer
    exec {control}<>"/dev/tcp/127.0.0.1/$CONTROL_PORT"
    echo restart >&"$control"
    read -r answer <&"$control"
    same ok "$answer"
}

# same EXPECTED ACTUAL
same() { [[ $1 == "$2" ]] || fail "expected $(printf %q "$1"), not $(printf %q "$2")"; }

matches() { [[ $2 =~ $1 ]] || fail "expected something like $1, not $(printf %q "$2")"; }

fail() {
    echo "line ${BASH_LINENO[1]}: $*" >&2
    exit 1
}

# left_out REASON: ends the check.
left_out() {
    echo "n/a $check: $1"
    exit 77
}

gearmand_is_wrong() { if [[ $TARGET == gearmand ]]; then left_out "gearmand $1"; fi; }

# run_checks NAME...: each in a shell of its own, whose background processes are killed with it.
run_checks() {
    local failed=0 code
    for check; do
        (
            set -eu
            trap 'kill -9 $(jobs -p) 2>/dev/null || true; wait 2>/dev/null' EXIT
            directory=$(mktemp -d)
            cd "$directory"
            "check_$check"
        )
        code=$?
        case $code in
            0) echo "ok $check" ;;
            77) ;;
            *) echo "FAILED $check: $code" && failed=1 ;;
        esac
    done
    exit $failed
}
