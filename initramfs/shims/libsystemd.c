// SPDX-License-Identifier: Apache-2.0
/*
 * libsystemd as it answers where systemd is absent: every call fails with -ENOSYS. lvm writes to
 * the journal and asks logind over D-Bus only if these succeed (sd-bus(3), sd-id128(3),
 * sd_journal_print(3)).
 */
#include <errno.h>

#include "shim.h"

REFUSE(sd_bus_call_method)
REFUSE(sd_bus_message_read)
REFUSE(sd_bus_open_system)
REFUSE(sd_id128_get_machine_app_specific)
REFUSE(sd_journal_printv_with_location)
REFUSE(sd_journal_send_with_location)
ZERO(sd_bus_error_has_name)
NOTHING(sd_bus_error_free)
NOTHING(sd_bus_flush_close_unref)
NOTHING(sd_bus_message_unref)
