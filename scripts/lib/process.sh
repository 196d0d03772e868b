# shellcheck shell=bash
# Processes and ports, for the scripts of this folder. Nothing here ends a process that is not recognised by
# its command line: a PID alone may have been given to somebody else meanwhile.

say() { printf '%s\n' "$*" >&2; }

die() {
    say "longshore: $*"
    exit 1
}

# is_ours PID WORD: whether the process lives and has WORD in its command line.
is_ours() {
    [ -n "$1" ] || return 1
    case "$(ps -ww -o args= -p "$1" 2>/dev/null)" in
        *"$2"*) return 0 ;;
        *) return 1 ;;
    esac
}

# describe_process PID: a line that no later process with the same PID has.
describe_process() {
    echo "$1 $(ps -o lstart= -p "$1" 2>/dev/null)"
}

# is_described_process_alive FILE: whether the process described in FILE still lives.
is_described_process_alive() {
    local pid rest
    read -r pid rest <"$1" || return 1
    [ -n "$rest" ] && [ "$(describe_process "$pid")" = "$(cat "$1")" ]
}

# end_process PID WORD SIGNAL: sends the signal if the process is ours and waits until it is gone; after 20
# seconds of patience it is killed.
end_process() {
    local tick=0
    is_ours "$1" "$2" || return 0
    kill "-$3" "$1" 2>/dev/null || true
    while is_ours "$1" "$2"; do
        tick=$((tick + 1))
        [ "$tick" -ne 200 ] || kill -KILL "$1" 2>/dev/null || true
        [ "$tick" -lt 300 ] || die "process $1 does not end"
        sleep 0.1
    done
}

# free_port: a loopback port nobody listens on, below the range that outgoing connections take theirs from.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        is_port_free "$port" && break
    done
    echo "$port"
}

is_port_free() {
    ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# tail_log FILE: the end of a server's log, for the person who has to find out why it does not start.
tail_log() {
    [ ! -f "$1" ] || tail -n 25 "$1" | sed 's/^/    /' >&2
}
