/* The daemon: the engine in the real world, with signals, the socket, systemd and reload. */
#ifndef RUNTIME_DAEMON_H
#define RUNTIME_DAEMON_H

#include <stdbool.h>

#include "autoscale/registry.h"

/* Runs in the foreground until SIGTERM or SIGINT; instances are left serving. The exit status. */
int daemon_run(const char *config_path, const struct as_registry *registry, bool dry_run);

#endif
