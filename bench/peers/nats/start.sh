# In a directory of its own: clients over WebSocket on one port, the publisher over TCP on another.
cat > nats.conf <<END
listen: "127.0.0.1:$3"
ping_interval: "10m"
max_connections: 200000
websocket { listen: "127.0.0.1:$2", no_tls: true, compression: false }
END
exec "$1/nats-server" -c nats.conf
