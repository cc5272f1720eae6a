# In a directory of its own, as one process, so that all of its work is seen there.
mkdir -p temp
cat > nginx.conf <<END
load_module /usr/lib/nginx/modules/ngx_nchan_module.so;
daemon off;
master_process off;
pid nginx.pid;
worker_rlimit_nofile $(ulimit -n);
error_log stderr error;
events { worker_connections $(ulimit -n); multi_accept on; }
http {
    access_log off;
    keepalive_requests 100000000;
    keepalive_timeout 1h;
    client_body_temp_path temp/a; proxy_temp_path temp/b; fastcgi_temp_path temp/c; uwsgi_temp_path temp/d; scgi_temp_path temp/e;
    nchan_shared_memory_size 256M;
    server {
        listen 127.0.0.1:$1 backlog=4096;
        location /ws/bench { nchan_subscriber websocket; nchan_channel_id bench; nchan_subscriber_first_message newest; nchan_websocket_ping_interval 10m; }
        location /publish { nchan_publisher; nchan_channel_id bench; nchan_message_buffer_length 1000; }
    }
}
END
exec /usr/sbin/nginx -p "$PWD" -c nginx.conf
