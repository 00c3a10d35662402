/** What `kdump-hotplug` alone says: one screen of 24 lines and 80 columns, for who has never seen it. */
export const WELCOME: string = `\
kdump-hotplug keeps kernel crash dumps complete while memory and CPUs come and
go: it rewrites, in place, the header that tells the loaded capture kernel what
the machine has. No reload, no agent in the guest.

  kdump-hotplug inspect TARGET|FILE       what a capture kernel would be told
  kdump-hotplug audit TARGET              is that true? exit code 0 yes, 1 no
  kdump-hotplug keep TARGET...            make it true, and keep it true
  kdump-hotplug plug TARGET --memory 1G   add memory or CPUs, header first
  kdump-hotplug unplug TARGET DEVICE...   remove them, and correct the header

TARGET is qmp:PATH, a running QEMU guest by its QMP socket; libvirt:DOMAIN;
local, the machine that this runs in; or sim:SPEC, a simulated machine.

To try first, without a guest and without root:
  kdump-hotplug audit sim:6.1,dimm=1G     memory came after the capture kernel
  kdump-hotplug simulate rfc              what the distributions' ways cost
On a real kernel under QEMU, about a minute (fetches what it lacks by apt):
  kdump-hotplug lab run

Everything else: kdump-hotplug --help, and of one command, such as audit:
  kdump-hotplug audit --help
Manual: man kdump-hotplug, where a package has installed it`;
