/* What the daemon tells systemd, when systemd started it; otherwise nothing happens. A message that cannot be
 * sent is dropped: the service manager's view must never stop the loop. Loop thread. */
#ifndef RUNTIME_NOTIFY_H
#define RUNTIME_NOTIFY_H

#include "autoscale/time.h"

void notify_ready(void);     /* at the end of the start, and of each reload, also of a failed one */
void notify_reloading(void);
void notify_stopping(void);
void notify_status(const char *text); /* one line for `systemctl status` */

/* How often to call notify_watchdog (half the time systemd allows), 0 when no watchdog is set. */
as_time notify_watchdog_interval(void);
void notify_watchdog(void);

#endif
