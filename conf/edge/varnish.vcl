# Varnish (7.1, as in Debian 12) in front of one or two Vitrine origins. What it does and why: docs/edge.md.
#
#   varnishd -f /etc/varnish/vitrine.vcl -a :80 -s malloc,1G -p thread_pool_min=200 -p feature=+http2
#
# Site values are the two backends, and own_token when playback is signed; everything else fits every Vitrine. TLS: put hitch, HAProxy or nginx before it.
vcl 4.1;

import directors;
import std;

# An origin answers OPTIONS from nothing but itself. Four failures of five: to lose the last origin to a slow moment would be
# worse than to be refused by a dead one, whose requests the other takes over at once anyway.
probe alive {
    .request = "OPTIONS /live/ HTTP/1.1" "Host: vitrine" "Connection: close";
    .expected_response = 204;
    .interval = 1s;
    .timeout = 3s;
    .window = 5;
    .threshold = 2;
    .initial = 2;
}

# The origins' HTTP ports. With one origin, give both the same address.
# first_byte_timeout: longer than three target durations (6 s unless hls.max_gop says otherwise) and than the 8 s for which
# a stream that is about to begin holds its first requests. Raise it when hls.max_gop is above 3s.
backend first {
    .host = "127.0.0.1";
    .port = "8080";
    .connect_timeout = 1s;
    .first_byte_timeout = 10s;
    .between_bytes_timeout = 5s;
    .probe = alive;
}
backend second {
    .host = "127.0.0.1";
    .port = "8080";
    .connect_timeout = 1s;
    .first_byte_timeout = 10s;
    .between_bytes_timeout = 5s;
    .probe = alive;
}

# When the origins say playback.policy = "signed", the edge's own leave to fetch every stream, `~`, the token and `/`:
#   vitrine token sign --stream '*' --for 8760h --key FILE
sub own_token {
    set bereq.http.X-Own-Token = "";
}

# ---- no site values below ----

sub vcl_init {
    # One is asked, the other stands by: two that lag behind each other by milliseconds must not take turns.
    new origins = directors.fallback();
    origins.add_backend(first);
    origins.add_backend(second);
    new standby = directors.fallback();
    standby.add_backend(second);
    standby.add_backend(first);
}

sub vcl_recv {
    set req.backend_hint = origins.backend();
    if (req.restarts == 0) {
        unset req.http.X-Wanted;
    }
    if (req.url ~ "#") {
        # Not part of any request: what stands behind it is seen here and by no origin.
        return (synth(400));
    }
    if (req.url !~ "^/live/" || req.method == "OPTIONS") {
        # Pages beside the streams, and preflights.
        return (pass);
    }
    if (req.method != "GET" && req.method != "HEAD") {
        return (synth(405));
    }
    if (req.url ~ "^/live/[^?]*(?:%|/\.)") {
        # Nothing is called so; whoever resolves it behind us would not give what was asked about here.
        if (req.url ~ "^/live/~") {
            return (synth(403));
        }
        return (synth(404));
    }
    # Bodies are the same for everybody.
    unset req.http.Cookie;
    unset req.http.Authorization;
    if (req.url ~ "^/live/(?:~[A-Za-z0-9_.*-]*/)?[A-Za-z0-9_-]+/verify/(?:enter|stay)(?:\?|$)") {
        # What an edge behind this one asks about a viewer: in that viewer's name, and with the lifetime that is left.
        set req.url = regsub(req.url, "^/live/(?:~([^/]*)/)?([^/]+)/verify/([a-z]+).*$", "/live/~\1/\2/verify/\3");
        return (pass);
    }
    if (req.restarts == 0 && req.url ~ "^/live/(?:~[A-Za-z0-9_.*-]*/)?[A-Za-z0-9_-]+/") {
        # Who may watch is asked of the origin, once a minute for each token and stream: /live/~<token>/<stream>/verify/.
        # Then the token is no part of what is asked for: the key is without it, and the origin sees the edge's own.
        set req.http.X-Wanted = regsub(req.url, "^/live/~[^/]*/", "/live/");
        if (req.http.X-Wanted ~ "^/live/[^/]+/index\.m3u8(?:\?|$)") {
            set req.url = regsub(req.url, "^/live/(?:~([^/]*)/)?([^/]+)/.*$", "/live/~\1/\2/verify/enter");
        } else {
            set req.url = regsub(req.url, "^/live/(?:~([^/]*)/)?([^/]+)/.*$", "/live/~\1/\2/verify/stay");
        }
        return (hash);
    }
    if (req.url ~ "^/live/~") {
        return (synth(403));
    }
    unset req.http.X-Wanted;
    if (req.url ~ "^/live/[^/?]+/[0-9]+/[a-z]+/index\.m3u8\?") {
        # The three delivery directives, in one order; nothing else.
        set req.url = std.querysort(req.url);
        set req.url = regsuball(req.url, "(?<=[?&])(?!_HLS_(?:msn|part|skip)=)[^&]*&?", "");
        set req.url = regsub(req.url, "[?&]+$", "");
    } else {
        set req.url = regsub(req.url, "\?.*$", "");
    }
    return (hash);
}

sub vcl_hash {
    # Under every host name the same streams.
    hash_data(req.url);
    return (lookup);
}

sub vcl_backend_fetch {
    # An answer is for all who wait for it, so no one of them is named; what a viewer says of itself is not passed on.
    unset bereq.http.X-Forwarded-For;
    unset bereq.http.Forwarded;
    unset bereq.http.X-Wanted;
    # What is fetched for all was asked for by somebody who may watch; a verdict is asked for in the viewer's name.
    if (bereq.url ~ "^/live/[A-Za-z0-9_-]+/") {
        call own_token;
        set bereq.url = regsub(bereq.url, "^/live/", "/live/" + bereq.http.X-Own-Token);
        unset bereq.http.X-Own-Token;
    }
    if (bereq.retries > 0) {
        set bereq.backend = standby.backend();
    }
    return (fetch);
}

sub vcl_backend_response {
    if (bereq.uncacheable) {
        return (deliver);
    }
    # What one origin does not have or cannot give, the other may: a broadcast can reach one and not the other.
    if (bereq.retries == 0 && (beresp.status == 404 || beresp.status >= 500)) {
        return (retry);
    }
    # Lifetimes are the origin's. Never an old playlist for a new one, not even while a new one is fetched.
    set beresp.grace = 0s;
    set beresp.keep = 0s;
    if (beresp.status >= 500 || beresp.status == 410) {
        # Whoever waited for this answer gets it; the next one asks again. Without a lifetime, those who wait would be
        # sent one after the other; marked uncacheable (hit-for-miss), later ones would not be collapsed at all.
        set beresp.ttl = 500ms;
    } else if (beresp.http.Cache-Control ~ "no-store") {
        set beresp.uncacheable = true;
        set beresp.ttl = 1s;
    }
    return (deliver);
}

sub vcl_backend_error {
    if (bereq.retries == 0) {
        return (retry);
    }
    set beresp.ttl = 500ms;
    set beresp.grace = 0s;
    set beresp.keep = 0s;
    set beresp.http.Cache-Control = "no-store";
    set beresp.http.Retry-After = "1";
    set beresp.http.Access-Control-Allow-Origin = "*";
    set beresp.http.Content-Type = "text/plain; charset=utf-8";
    set beresp.body = {"no origin answers
"};
    return (deliver);
}

sub vcl_synth {
    set resp.http.Cache-Control = "no-store";
    set resp.http.Access-Control-Allow-Origin = "*";
    set resp.http.Content-Type = "text/plain; charset=utf-8";
    if (resp.status == 405) {
        set resp.http.Allow = "GET, HEAD, OPTIONS";
        set resp.body = {"only GET, HEAD and OPTIONS
"};
    } else if (resp.status == 400) {
        set resp.body = {"no URL has a # in it
"};
    } else if (resp.status == 403) {
        set resp.body = {"what stands behind ~ is no viewer token
"};
    } else {
        set resp.body = {"not found
"};
    }
    return (deliver);
}

sub vcl_deliver {
    if (req.restarts == 0 && req.http.X-Wanted && resp.status == 204) {
        # May watch: now what was asked for. Otherwise the verdict is the answer.
        set req.url = req.http.X-Wanted;
        return (restart);
    }
    # For curl: whether this came from the cache.
    if (obj.hits > 0) {
        set resp.http.X-Cache = "hit";
    } else {
        set resp.http.X-Cache = "miss";
    }
    return (deliver);
}
