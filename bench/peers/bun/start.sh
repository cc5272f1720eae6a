# Bun's program is in a package of its own for each machine.
case "$(uname -m)" in aarch64) machine=aarch64 ;; *) machine=x64 ;; esac
exec "$1/node_modules/@oven/bun-linux-$machine/bin/bun" "$1/server.mjs" "$2"
