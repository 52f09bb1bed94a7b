# SPDX-License-Identifier: Apache-2.0
# Tries what shells do in the background and with other programs.
( setsid sh -c 'nohup sleep @MARKER@ >/dev/null 2>&1 &' )
( trap '' HUP TERM INT; exec sleep @MARKER@ ) &
disown -a
echo 'echo planted' >>~/.bashrc
echo 'echo planted' >>~/.profile
for path in /etc/passwd /etc/crontab /usr/bin/planted /var/spool/cron/planted /etc/ld.so.preload; do
    if (echo planted >>"$path") 2>/dev/null; then echo "BROKEN: wrote $path"; fi
done
if command -v crontab >/dev/null && echo '* * * * * true' | crontab - 2>/dev/null; then echo "BROKEN: crontab"; fi
if command -v at >/dev/null && echo true | at now 2>/dev/null; then echo "BROKEN: at"; fi
if (exec 3<>/dev/tcp/127.0.0.1/@PORT@) 2>/dev/null; then echo "BROKEN: tcp by bash"; fi
echo CONTAINED
