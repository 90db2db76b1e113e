//! Every upper bound of the daemon, with its unit and its reason. A limit that a stranger can reach belongs here.
