//! Load for any XMPP server: scenarios, clients and arrivals.
