#!/bin/bash
# Whether the server of this container answers that it is healthy, with nothing but bash: is-healthy [PORT [PATH]]
exec 3<>"/dev/tcp/127.0.0.1/${1:-8080}" || exit 1
printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "${2:-/health}" >&3
read -r -t 3 _ code _ <&3 && [ "$code" = 200 ]
