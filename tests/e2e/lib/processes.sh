# The instances of the process driver as a script sees them: by their records in $WORK/instances.
#
#     instances         prints the pids of those that live
#     none_left         does none live any more?
#     end_instances     ends them all: they outlive the controller that started them, so whoever wants them gone says so

record_number() { # NAME FILE: prints a number of a record
    sed -nE "s/.*\"$1\":([0-9]+).*/\1/p" "$2"
}

instances() { # a pid counts only with its start time
    local file pid
    for file in "$WORK"/instances/*.json; do
        [ -f "$file" ] || continue
        pid=$(record_number pid "$file")
        [ "$(pid_started "$pid")" = "$(record_number start "$file")" ] && echo "$pid"
    done
}

none_left() {
    [ -z "$(instances)" ]
}

end_instances() {
    local pid
    for pid in $(instances); do kill -TERM -- "-$pid"; done
    wait_quiet 15 none_left && return
    for pid in $(instances); do kill -KILL -- "-$pid"; done
    wait_quiet 15 none_left
}
