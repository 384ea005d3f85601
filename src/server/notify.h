// SPDX-License-Identifier: Apache-2.0
// Telling a service manager how we are (the protocol of sd_notify(3):
// one datagram to $NOTIFY_SOCKET).
#ifndef PCR_SERVER_NOTIFY_H
#define PCR_SERVER_NOTIFY_H

// "READY=1", "STOPPING=1", … Does nothing where nobody listens.
void pcr_notify(const char *state);
// "RELOADING=1" with the time stamp that Type=notify-reload wants.
void pcr_notify_reloading(void);

#endif
