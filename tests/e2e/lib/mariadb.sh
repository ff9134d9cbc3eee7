# A private MariaDB for a test: sourced after common.sh. The server runs as a user that is not root, with all its files in one
# directory, and forgets durability for speed. It never touches the system's own server.
#
#     start_mariadb DIR PORT [server option…]    makes DIR/data when it is new, starts, waits; sets MARIA_PID
#     maria_sql DIR "SQL"                        runs as superuser over the socket DIR/sock, prints bare values
#
# The log is DIR/mariadb.log.

maria_as() { # command…: becomes it, as the server's user
    [ "$(id -u)" != 0 ] || set -- setpriv --reuid=mysql --regid="$(id -g mysql)" --clear-groups "$@"
    exec "$@"
}

maria_sql() { # DIR SQL
    mariadb --no-defaults -u root -S "$1/sock" -B -N -e "$2"
}

# A server that starts removes the temporary tables of all others in its directory for them, so each has its own.
maria_init() { # DIR
    mkdir -p "$1/tmp" && { [ "$(id -u)" != 0 ] || chown mysql: "$1" "$1/tmp"; } &&
        (maria_as env TMPDIR="$1/tmp" mariadb-install-db --no-defaults --datadir="$1/data" --auth-root-authentication-method=normal \
            --skip-test-db) >"$1/install.log" 2>&1
}

start_mariadb() { # DIR PORT [server option…]
    local dir=$1 port=$2
    shift 2
    if [ ! -d "$dir/data" ] && ! maria_init "$dir"; then
        warn "mariadb-install-db failed: $(tail -n 1 "$dir/install.log")"
        return 1
    fi
    spawn "$dir/mariadb.log" maria_as mariadbd --no-defaults --datadir="$dir/data" --tmpdir="$dir/tmp" --socket="$dir/sock" \
        --pid-file="$dir/pid" --port="$port" --bind-address=127.0.0.1 --innodb-buffer-pool-size=8M \
        --innodb-log-file-size=8M --innodb-flush-log-at-trx-commit=0 --skip-name-resolve "$@" || return 1
    MARIA_PID=$SPAWN_PID
    wait_for 60 "MariaDB in $dir to answer" maria_sql "$dir" 'select 1'
}
