#!/bin/sh
# Serves a page that says which pod answered, and logs each request.
echo "$(hostname) serves http on port ${PORT:-8080}"
sed "s/@HOSTNAME@/$(hostname)/g" /www/index.html > /tmp/index.html
exec httpd -f -vv -p "${PORT:-8080}" -h /tmp
