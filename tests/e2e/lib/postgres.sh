# A private PostgreSQL for a test: sourced after common.sh. The server runs as a user that is not
# root, with all its files in one directory, and forgets durability for speed. It never touches the
# system's own cluster.
#
#     start_postgres DIR PORT [server option…]   initdb when DIR/data is new, start, wait; sets PG_PID, PG_PORT,
#                                                PG_DIR, PG_CONNINFO (superuser over the unix socket in DIR)
#     pg_sql "SQL" [DATABASE]                    runs as superuser, prints bare values
#     pg_role NAME PASSWORD [monitor]            a login role; TCP from 127.0.0.0/8 wants its password
#     stop_postgres [SIGNAL]                     INT: fast (default), QUIT: at once

PG_PID= PG_DIR= PG_PORT= PG_CONNINFO=

pg_bin() { # NAME: prints the newest installed one
    local path
    path=$(printf '%s\n' /usr/lib/postgresql/*/bin/"$1" | sort -V | tail -n 1)
    [ -x "$path" ] || path=$(command -v "$1") || return 1
    printf '%s' "$path"
}

pg_as() { # command…: as the server's user
    local user=postgres
    [ "$(id -u)" = 0 ] || { "$@"; return; }
    id -u "$user" >/dev/null 2>&1 || user=nobody
    setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups "$@"
}

pg_spawn() { # LOG command…: setpriv becomes the command, so that the pid is the server's
    local log=$1 user=postgres
    shift
    [ "$(id -u)" = 0 ] || { spawn "$log" "$@"; return; }
    id -u "$user" >/dev/null 2>&1 || user=nobody
    spawn "$log" setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups "$@"
}

pg_init() { # DIR
    pg_as "$(pg_bin initdb)" -D "$1/data" -U postgres -N -E UTF8 --locale=C --auth-local=trust \
        --auth-host=scram-sha-256 >"$1/initdb.log" 2>&1 || return 1
    pg_as tee -a "$1/data/pg_hba.conf" >/dev/null <<'HBA'
host all all 127.0.0.0/8 scram-sha-256
HBA
}

start_postgres() { # DIR PORT [server option…]
    local dir=$1 port=$2 log=$1/postgres.log
    shift 2
    pg_bin postgres >/dev/null || { warn "PostgreSQL is not installed"; return 1; }
    mkdir -p "$dir" || return 1
    if [ "$(id -u)" = 0 ]; then
        chown postgres "$dir" 2>/dev/null || chown nobody "$dir"
    fi
    if [ ! -d "$dir/data" ] && ! pg_init "$dir"; then
        warn "initdb failed: $(tail -n 1 "$dir/initdb.log")"
        return 1
    fi
    pg_spawn "$log" "$(pg_bin postgres)" -D "$dir/data" -p "$port" -k "$dir" -c fsync=off -c full_page_writes=off \
        -c synchronous_commit=off -c shared_buffers=16MB -c max_wal_size=256MB "$@" || return 1
    PG_PID=$SPAWN_PID PG_DIR=$dir PG_PORT=$port
    PG_CONNINFO="host=$dir port=$port user=postgres dbname=postgres"
    cleanup_add "end_pid $PG_PID 30 INT" # before the plain end: a fast shutdown leaves no shared memory
    if ! wait_quiet 90 pg_answers; then
        warn "PostgreSQL does not answer: $(tail -n 1 "$log")"
        return 1
    fi
}

pg_answers() {
    is_running "$PG_PID" && "$(pg_bin pg_isready)" -q -U postgres -d postgres -h "$PG_DIR" -p "$PG_PORT"
}

pg_sql() { # SQL [DATABASE]
    "$(pg_bin psql)" -X -q -A -t -v ON_ERROR_STOP=1 -h "$PG_DIR" -p "$PG_PORT" -U postgres -d "${2:-postgres}" -c "$1"
}

pg_role() { # NAME PASSWORD [monitor]
    pg_sql "create role \"$1\" login password '$2'" || return 1
    [ "${3:-}" != monitor ] || pg_sql "grant pg_monitor to \"$1\""
}

stop_postgres() { # [SIGNAL]
    [ -n "$PG_PID" ] || return 0
    end_pid "$PG_PID" 30 "${1:-INT}"
    PG_PID=
}
