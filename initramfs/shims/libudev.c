// SPDX-License-Identifier: Apache-2.0
/*
 * libudev as it answers where no udev daemon runs: queues are inactive, no device is known.
 * lvm and libdevmapper then make device nodes themselves (overlay/etc/lvm/lvm.conf says so too).
 */
#include <errno.h>

#include "shim.h"

NOTHING(udev_new)
NOTHING(udev_unref)
NOTHING(udev_queue_new)
NOTHING(udev_queue_unref)
ZERO(udev_queue_get_udev_is_active)
NOTHING(udev_device_new_from_devnum)
NOTHING(udev_device_new_from_syspath)
NOTHING(udev_device_unref)
NOTHING(udev_device_get_devlinks_list_entry)
NOTHING(udev_device_get_devnode)
NOTHING(udev_device_get_property_value)
ZERO(udev_device_get_is_initialized)
NOTHING(udev_enumerate_new)
NOTHING(udev_enumerate_unref)
REFUSE(udev_enumerate_add_match_subsystem)
REFUSE(udev_enumerate_scan_devices)
NOTHING(udev_enumerate_get_list_entry)
NOTHING(udev_list_entry_get_name)
NOTHING(udev_list_entry_get_next)
