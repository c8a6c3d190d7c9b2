-- Prosody as a peer: XMPP over TLS 1.3 on loopback, and nothing that costs without being measured.
-- loadtest/peers/README.md says why each line is there; words with a dollar sign are filled in by loadtest/peers/peer.

data_path = "$folder/data"
pidfile = "$folder/data/prosody.pid"
certificates = "$folder/tls"
log = { warn = "$folder/log/prosody.log" }

interfaces = { "127.0.0.1" }
c2s_direct_tls_ports = { $port }
c2s_ports = { $starttls_port }
c2s_require_encryption = true
ssl = { protocol = "tlsv1_3" }

network_backend = "epoll"
network_settings = {
	nagle = false;
	tcp_backlog = 16384;
	read_size = 16384;
}

modules_enabled = { "saslauth", "tls", "smacks" }
modules_disabled = { "s2s", "s2s_auth_certs", "offline" }

authentication = "internal_plain"
storage = { accounts = "internal" }
default_storage = "memory"

gc = { mode = "incremental", threshold = $threshold }

c2s_stanza_size_limit = 262144
smacks_hibernation_time = 300

VirtualHost "$domain"
