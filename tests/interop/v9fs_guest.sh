#!/bin/bash
# v9fs_guest.sh - boot a throw-away Linux guest whose in-kernel v9fs client mounts
# a 9P2000.L server running on this host, run a shell script in it, return its status.
#
# Debian 12 packages: qemu-system-x86 busybox-static   (+ linux-image-amd64, which is only
# downloaded and unpacked, never installed; linux-image-CLOUD-amd64 has no 9p modules).
#
# usage: v9fs_guest.sh [options] -s SCRIPT
#   -p PORT      server listens on 127.0.0.1:PORT            (guest: trans=tcp via QEMU user net)
#   -u SOCK      server listens on unix socket SOCK          (guest: trans=tcp -> guestfwd -> SOCK)
#   -v DIR       no server: QEMU's own 9pfs exports DIR      (guest: trans=virtio; reference peer)
#   -s SCRIPT    sh script to run in the guest, cwd = the mount, $M = mount point ("-" = stdin)
#   -o OPTS      extra mount options (default: version=9p2000.L,msize=65536,access=any,cache=none)
#   -a ANAME     aname                                       (default /)
#   -H           chroot into the host's root (read-only, QEMU 9pfs, tmpfs on /tmp) before running
#                SCRIPT, so that the host's fio/gcc/prove/python... work; mount is then /mnt
#   -d DIR       further host directory, read-write, at /share (QEMU 9pfs)
#   -A kvm|tcg   accelerator (default: $ACCEL, else kvm if a probe boot works, else tcg)
#   -m MIB -c CPUS -t SECONDS    memory (512), cpus (1), total time limit (300)
#   -i NAME      initial user name, uname=NAME               (default root)
# Measured with tcg on two CPUs: 6 to 9 s for a trivial script, 2 s more with -H; the first run fetches the kernel (70 MB).
# env: V9_CACHE (work dir, default ./v9guest.cache), V9_KEEP=1 (keep console log), V9_NETDEV_MODEL
# exit status: the guest script's (0..250); 251 no mount, 252 guest died/time-out, 253 usage/set-up.
set -u
die() { echo "v9fs_guest: $*" >&2; exit 253; }
PORT= SOCK= VDIR= SCRIPT= ANAME=/ HOSTROOT=0 SHARE= ACC=${ACCEL:-} MEM=512 CPUS=1 TMO=300 UNAME=root
OPTS=version=9p2000.L,msize=65536,access=any,cache=none
while getopts p:u:v:s:o:a:Hd:A:m:c:t:i: f; do case $f in
 p) PORT=$OPTARG;; u) SOCK=$OPTARG;; v) VDIR=$OPTARG;; s) SCRIPT=$OPTARG;; o) OPTS=$OPTARG;;
 a) ANAME=$OPTARG;; H) HOSTROOT=1;; d) SHARE=$OPTARG;; A) ACC=$OPTARG;; m) MEM=$OPTARG;;
 c) CPUS=$OPTARG;; t) TMO=$OPTARG;; i) UNAME=$OPTARG;; *) die "see the head of this file";; esac; done
[ -n "$SCRIPT" ] || die "-s SCRIPT needed"
[ -n "$PORT$SOCK$VDIR" ] || die "one of -p -u -v needed"
CACHE=$(mkdir -p "${V9_CACHE:-v9guest.cache}" && cd "${V9_CACHE:-v9guest.cache}" && pwd) || die cache
BB=$(command -v busybox) || die "apt-get install busybox-static"
command -v qemu-system-x86_64 >/dev/null || die "apt-get install qemu-system-x86"

# 1. kernel + modules, once (download and unpack; not installed)
exec 9>"$CACHE/lock"; flock 9
if [ ! -e "$CACHE/vmlinuz" ]; then
  pkg=$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image/{print $2;exit}')
  (cd "$CACHE" && apt-get -qq -o APT::Sandbox::User=root download "$pkg" && dpkg -x "$pkg"_*.deb x) || die "kernel download"
  mkdir -p "$CACHE/mod"
  for m in virtio/virtio virtio/virtio_ring virtio/virtio_pci_modern_dev virtio/virtio_pci_legacy_dev \
    virtio/virtio_pci net/core/failover drivers/net/net_failover net/virtio_net netfs/netfs \
    fscache/fscache 9p/9pnet 9p/9pnet_fd 9p/9pnet_virtio fs/9p/9p; do
    f=$(find "$CACHE/x" -name "${m##*/}.ko" | head -1); [ -n "$f" ] && cp "$f" "$CACHE/mod/"
  done
  cp "$CACHE"/x/boot/vmlinuz-* "$CACHE/vmlinuz"; rm -rf "$CACHE/x" "$CACHE"/*.deb
fi
exec 9>&-

# 2. initramfs (a few MB, rebuilt each time: < 0.3 s)
RUN=$(mktemp -d "$CACHE/run.XXXXXX"); Q=
trap '[ -n "$Q" ] && kill $Q 2>/dev/null; rm -rf "$RUN"' EXIT; trap 'exit 252' INT TERM HUP
R=$RUN/root; mkdir -p "$R"/{bin,proc,sys,dev,mnt,host,share,tmp,mod,etc}
cp "$BB" "$R/bin/busybox"; cp "$CACHE"/mod/*.ko "$R/mod/"
if [ "$SCRIPT" = - ]; then cat >"$R/script.sh"; else cp "$SCRIPT" "$R/script.sh" || die "$SCRIPT"; fi
cat >"$R/conf" <<C
PORT='$PORT' SOCK='$SOCK' VDIR='$VDIR' HOSTROOT=$HOSTROOT SHARE='$SHARE'
OPTS='$OPTS' ANAME='$ANAME' UNAME='$UNAME'
C
cat >"$R/init" <<'I'
#!/bin/busybox sh
/bin/busybox --install -s /bin; export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev; mount -t tmpfs t /tmp
. /conf
fin() { echo; echo "V9GUEST-RC=$1"; sync; reboot -f; }
n=0; while ls /mod/*.ko >/dev/null 2>&1 && [ $n -lt 8 ]; do n=$((n+1)) # insert in dependency order by trying
  for m in /mod/*.ko; do insmod $m 2>/dev/null && rm $m; done; done; ls /mod
ip link set lo up; ip link set eth0 up && ip addr add 10.0.2.15/24 dev eth0
VO=version=9p2000.L,trans=virtio,msize=262144
M=/mnt
if [ $HOSTROOT = 1 ]; then
  mount -t 9p -o $VO,cache=loose,ro hostroot /host || fin 251
  M=/host/mnt
  for d in proc sys dev; do mount --bind /$d /host/$d; done; mount -t tmpfs t /host/tmp
fi
if [ -n "$SHARE" ]; then S=/share; [ $HOSTROOT = 1 ] && { mkdir -p /host/tmp/share; S=/host/tmp/share; }
  mount -t 9p -o $VO,cache=none hostshare $S || fin 251; fi
if [ -n "$VDIR" ]; then mount -t 9p -o "trans=virtio,$OPTS,uname=$UNAME" target $M || fin 251
elif [ -n "$SOCK" ]; then mount -t 9p -o "trans=tcp,port=564,$OPTS,uname=$UNAME,aname=$ANAME" 10.0.2.100 $M || fin 251
else mount -t 9p -o "trans=tcp,port=$PORT,$OPTS,uname=$UNAME,aname=$ANAME" 10.0.2.2 $M || fin 251; fi
read up _ </proc/uptime; echo "V9GUEST-MOUNTED uptime=$up $(uname -r) $(grep " $M " /proc/mounts)"
if [ $HOSTROOT = 1 ]; then cp /script.sh /host/tmp/script.sh
  (M=/mnt; export M; chroot /host /bin/sh -c 'cd $M && HOME=/tmp exec sh /tmp/script.sh'); rc=$?
else export M; (cd $M && exec sh /script.sh); rc=$?; fi
cd /; umount $M || echo "umount failed"
[ $rc -gt 250 ] && rc=250
fin $rc
I
chmod 755 "$R/init"
(cd "$R" && find . | "$BB" cpio -o -H newc 2>/dev/null) | gzip -1 >"$RUN/initrd" || die initrd

# 3. boot
NET="user,id=n0,restrict=off"; ARGS=()
[ -n "$SOCK" ] && NET="user,id=n0,restrict=on,guestfwd=tcp:10.0.2.100:564-chardev:c9" &&
  ARGS+=(-chardev "socket,id=c9,path=$(realpath "$SOCK")")
ARGS+=(-netdev "$NET" -device "${V9_NETDEV_MODEL:-virtio-net-pci},netdev=n0,romfile=")
[ -n "$VDIR" ] && ARGS+=(-virtfs "local,path=$VDIR,mount_tag=target,security_model=${V9_SECMODEL:-passthrough},multidevs=remap")
[ $HOSTROOT = 1 ] && ARGS+=(-virtfs "local,path=/,mount_tag=hostroot,security_model=none,readonly=on,multidevs=remap")
[ -n "$SHARE" ] && ARGS+=(-virtfs "local,path=$SHARE,mount_tag=hostshare,security_model=none,multidevs=remap")
# no_timer_check: on a busy host the kernel once missed the timer's ticks at boot and panicked ("IO-APIC + timer doesn't work").
# The others are a guess after one guest stalled with "Possible timer handling issue": clocks that need no calibration. Not
# compared with the defaults under the same load; guest time runs up to five times too fast with them where QEMU is starved.
CLOCKS="clocksource=hpet nolapic_timer no_timer_check nowatchdog"
boot() { # accel seconds logfile
  local cpu=max; [ "$1" = kvm ] && cpu=host
  exec timeout -k 5 "$2" qemu-system-x86_64 -M q35 -accel "$1" -cpu $cpu -m "$MEM" -smp "$CPUS" -nodefaults -no-user-config \
    -display none -serial stdio -no-reboot -kernel "$CACHE/vmlinuz" -initrd "$RUN/initrd" \
    -append "console=ttyS0 quiet panic=-1 mitigations=off nokaslr $CLOCKS ${V9_APPEND:-}" "${ARGS[@]}" </dev/null >"$3" 2>&1
}
if [ -z "$ACC" ]; then
  if [ -e "$CACHE/accel" ]; then ACC=$(cat "$CACHE/accel"); else
    ACC=tcg
    if [ -w /dev/kvm ]; then # probe: the guest must print something within 15 s
      ( timeout -k 2 15 qemu-system-x86_64 -M q35 -accel kvm -cpu host -m 256 -nodefaults -display none -serial stdio -no-reboot \
        -kernel "$CACHE/vmlinuz" -append "console=ttyS0 panic=-1" </dev/null >"$RUN/probe" 2>&1 ) 2>/dev/null
      grep -q 'Linux version' "$RUN/probe" && grep -q 'end Kernel panic\|Unable to mount root\|reboot' "$RUN/probe" && ACC=kvm
    fi
    echo $ACC >"$CACHE/accel"
  fi
fi
: >"$RUN/log"; boot "$ACC" "$TMO" "$RUN/log" &
Q=$!
tail -n +1 -s 0.1 -f --pid=$Q "$RUN/log" 2>/dev/null | sed -u -n -e 's/\r//g' -e '/V9GUEST-MOUNTED/,$p'
wait $Q 2>/dev/null; Q=
[ -n "${V9_KEEP:-}" ] && cp "$RUN/log" "$CACHE/last.log"
rc=$(tr -d '\r' <"$RUN/log" | sed -n 's/^V9GUEST-RC=//p' | tail -1)
[ -n "$rc" ] || { tail -20 "$RUN/log" >&2; exit 252; }
[ "$rc" = 251 ] && tail -5 "$RUN/log" >&2
exit "$rc"
