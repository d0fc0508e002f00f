#!/bin/sh
# Serves a page that says which pod answered, until told to end.
port=${PORT:-8080}
sed "s/@HOSTNAME@/$(hostname)/g" /www/index.html > /tmp/index.html
httpd -f -p "$port" -h /tmp &
server=$!
trap 'echo "$(hostname) ends"; kill "$server"; exit 0' TERM INT
echo "$(hostname) serves http on port $port"
wait "$server"
