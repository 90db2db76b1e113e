use super::*;

fn publish() -> Publish {
    Publish {
        node: "n1".to_owned(),
        session: "ses_1".to_owned(),
        at: WallTime(1_767_268_800_123),
        app: "live".to_owned(),
        name: "cam 1".to_owned(),
        stream_key: "s3cr3t".to_owned(),
        query: "token=a%26b&x=y".to_owned(),
        tc_url: "rtmp://shop.example:1935/live".to_owned(),
        protocol: "rtmps",
        peer: "203.0.113.7:50312".parse().expect("an address"),
        encoder: "FMLE/3.0 (compatible; Lavf59.27)".to_owned(),
    }
}

fn asked(dialect: Dialect) -> String {
    let body = dialect.ask(&publish());
    String::from_utf8(body.bytes.to_vec()).expect("text")
}

fn says(dialect: Dialect, status: u16, body: &str) -> Result<Verdict, Unfit> {
    dialect.verdict(&Answer {
        status,
        location: None,
        body: body.as_bytes(),
    })
}

fn named(stream_id: &str) -> Verdict {
    Verdict::Allow(Allow {
        stream_id: Some(stream_id.to_owned()),
        ..Allow::default()
    })
}

#[test]
fn ours_asks_as_the_contract_has_it() {
    let json: serde_json::Value = serde_json::from_str(&asked(Dialect::Vitrine)).expect("JSON");
    let wanted = serde_json::json!({
        "type": "publish.requested",
        "timestamp": "2026-01-01T12:00:00.123Z",
        "data": {
            "node": "n1", "session_id": "ses_1", "app": "live", "stream_key": "s3cr3t",
            "query": "token=a%26b&x=y", "tc_url": "rtmp://shop.example:1935/live",
            "protocol": "rtmps", "remote_addr": "203.0.113.7:50312",
            "encoder": "FMLE/3.0 (compatible; Lavf59.27)",
        },
    });
    assert_eq!(json, wanted);
}

#[test]
fn ours_reads_every_field_and_ignores_what_it_does_not_know() {
    let text = r#"{"allow":true,"stream_id":"shop42","ladder":"phones","takeover":false,"max_kbps":6000,
        "epoch":1767268800,"lifetime_seconds":60,"revalidate_seconds":10,"metadata":{"seller":7},"record":false,"new":1,
        "event_offset_ms":-250,"amf_events":true,"events":{"per_second":5,"bytes_per_second":2048,"later":1}}"#;
    let wanted = Allow {
        stream_id: Some("shop42".to_owned()),
        ladder: Some("phones".to_owned()),
        takeover: Some(false),
        max_kbps: Some(6000),
        epoch: Some(1_767_268_800),
        lifetime_seconds: Some(60),
        revalidate_seconds: Some(10),
        events: Events {
            amf: Some(true),
            offset_ms: Some(-250),
            per_second: Some(5),
            bytes_per_second: Some(2048),
        },
        metadata: serde_json::json!({"seller": 7})
            .as_object()
            .cloned()
            .expect("an object"),
    };
    assert_eq!(
        says(Dialect::Vitrine, 200, text),
        Ok(Verdict::Allow(wanted))
    );
    let short = r#"{"allow":true,"stream_id":"shop42","max_kbps":null}"#;
    assert_eq!(says(Dialect::Vitrine, 200, short), Ok(named("shop42")));
}

#[test]
fn ours_denies_with_the_backends_words_and_whatever_cannot_be_understood() {
    let reason = |reason: &str| {
        Ok(Verdict::Deny {
            reason: reason.to_owned(),
        })
    };
    let long = format!(r#"{{"allow":false,"reason":"{}"}}"#, "x".repeat(999));
    for (status, body, wanted) in [
        (
            200,
            r#"{"allow":false,"reason":"unknown stream key"}"#,
            reason("unknown stream key"),
        ),
        (200, r#"{"allow":false}"#, reason(DENIED)),
        (200, &long, reason(&"x".repeat(200))),
        (403, "<html>", reason(DENIED)),
    ] {
        assert_eq!(says(Dialect::Vitrine, status, body), wanted, "{body}");
    }
    for (status, body, wanted) in [
        (
            500,
            "",
            "the backend answered 500, expected 200 with a verdict, or 401, 403 or 404",
        ),
        (
            204,
            "",
            "the backend answered 204, expected 200 with a verdict, or 401, 403 or 404",
        ),
        (
            200,
            "",
            r#"the backend's answer is not a JSON object with "allow""#,
        ),
        (
            200,
            "[]",
            r#"the backend's answer is not a JSON object with "allow""#,
        ),
        (
            200,
            r#"{"stream_id":"a"}"#,
            r#"the backend's answer is not a JSON object with "allow""#,
        ),
        (
            200,
            r#"{"allow":"yes"}"#,
            "allow in the backend's answer: expected true or false",
        ),
        (
            200,
            r#"{"allow":true}"#,
            "stream_id in the backend's answer: expected the public name of the stream",
        ),
        (
            200,
            r#"{"allow":true,"stream_id":"a","max_kbps":-1}"#,
            "max_kbps in the backend's answer: expected a whole number from 1 to 4294967295",
        ),
        (
            200,
            r#"{"allow":true,"stream_id":"a","event_offset_ms":30001}"#,
            "event_offset_ms in the backend's answer: expected milliseconds, -30000 to 30000",
        ),
        (
            200,
            r#"{"allow":true,"stream_id":"a","amf_events":1}"#,
            "amf_events in the backend's answer: expected true or false",
        ),
        (
            200,
            r#"{"allow":true,"stream_id":"a","events":true}"#,
            "events in the backend's answer: expected an object",
        ),
        (
            200,
            r#"{"allow":true,"stream_id":"a","events":{"per_second":0}}"#,
            "events.per_second in the backend's answer: expected a whole number from 1 to 1000",
        ),
        (
            200,
            r#"{"allow":true,"stream_id":"a","events":{"bytes_per_second":1023}}"#,
            "events.bytes_per_second in the backend's answer: expected a whole number from 1024 to 65536",
        ),
        (
            200,
            r#"{"allow":true,"stream_id":"a","record":true}"#,
            "record in the backend's answer is not supported by this version",
        ),
    ] {
        let error = says(Dialect::Vitrine, status, body).expect_err(body);
        assert_eq!(error.to_string(), wanted);
    }
}

#[test]
fn metadata_is_bounded() {
    let of = |bytes: usize| {
        let text = "x".repeat(bytes);
        format!(r#"{{"allow":true,"stream_id":"a","metadata":{{"k":"{text}"}}}}"#)
    };
    let room = crate::limits::VERDICT_METADATA_BYTES - r#"{"k":""}"#.len();
    assert!(says(Dialect::Vitrine, 200, &of(room)).is_ok());
    let error = says(Dialect::Vitrine, 200, &of(room + 1)).expect_err("too much");
    let wanted = "metadata in the backend's answer: expected an object of at most 4096 bytes";
    assert_eq!(error.to_string(), wanted);
}

#[test]
fn ours_asks_again_with_what_is_known() {
    let body = Dialect::Vitrine.ask_again(&publish(), "shop42");
    let mut json: serde_json::Value =
        serde_json::from_slice(&body.expect("a question").bytes).expect("JSON");
    let mut first: serde_json::Value =
        serde_json::from_str(&asked(Dialect::Vitrine)).expect("JSON");
    assert_eq!(json["type"].take(), "publish.revalidated");
    assert_eq!(json["data"]["stream_id"].take(), "shop42");
    first["type"].take();
    first["data"]["stream_id"].take();
    assert_eq!(json, first);
    for dialect in [Dialect::Srs, Dialect::NginxRtmp, Dialect::Mediamtx] {
        assert_eq!(dialect.ask_again(&publish(), "shop42"), None);
    }
}

/// As Debian's module 1.2.2 posted them, but for the id of the client.
#[test]
fn nginx_rtmp_is_told_ends_and_progress_as_its_module_tells_them() {
    let head = "app=live&flashver=FMLE/3.0%20(compatible%3B%20Lavf59.27&swfurl=\
        &tcurl=rtmp://shop.example:1935/live&pageurl=&addr=203.0.113.7&clientid=ses_1";
    let text = |body: Option<Body>| {
        let body = body.expect("a call");
        String::from_utf8(body.bytes.to_vec()).expect("text")
    };
    let done = format!("{head}&call=publish_done&name=cam%201&token=a%26b&x=y");
    assert_eq!(text(Dialect::NginxRtmp.done(&publish())), done);
    let progress = Progress {
        seconds: 30,
        timestamp: 29_967,
    };
    let update =
        format!("{head}&call=update_publish&time=30&timestamp=29967&name=cam%201&token=a%26b&x=y");
    let told = Dialect::NginxRtmp.update(&publish(), progress);
    assert_eq!(text(told), update);
    let goes_on = |status| {
        Dialect::NginxRtmp.goes_on(&Answer {
            status,
            location: None,
            body: b"",
        })
    };
    assert!(goes_on(200) && goes_on(302) && !goes_on(404) && !goes_on(500));
    for dialect in [Dialect::Vitrine, Dialect::Mediamtx] {
        assert_eq!(
            (
                dialect.done(&publish()),
                dialect.update(&publish(), progress)
            ),
            (None, None)
        );
    }
    let ended = text(Dialect::Srs.done(&publish()));
    assert_eq!(
        ended,
        asked(Dialect::Srs).replace("on_publish", "on_unpublish")
    );
}

#[test]
fn srs_is_asked_and_understood_as_its_manual_has_it() {
    let json: serde_json::Value = serde_json::from_str(&asked(Dialect::Srs)).expect("JSON");
    let wanted = serde_json::json!({
        "server_id": "n1", "service_id": "n1", "action": "on_publish", "client_id": "ses_1",
        "ip": "203.0.113.7", "vhost": "__defaultVhost__", "app": "live",
        "tcUrl": "rtmp://shop.example:1935/live", "stream": "cam 1", "param": "?token=a%26b&x=y",
        "stream_url": "shop.example/live/cam 1", "stream_id": "ses_1",
    });
    assert_eq!(json, wanted);
    let allowed = Ok(Verdict::Allow(Allow::default()));
    for (status, body, wanted) in [
        (200, "0", allowed.clone()),
        (201, "0\n", allowed.clone()),
        (200, r#"{"code":0,"data":null}"#, allowed),
        (200, "1", Ok(denied())),
        (200, r#"{"code":403}"#, Ok(denied())),
        (500, "0", Ok(denied())),
        (302, "0", Ok(denied())),
    ] {
        assert_eq!(says(Dialect::Srs, status, body), wanted, "{status} {body}");
    }
    for body in ["", "ok", "{}", r#"{"code":"0"}"#] {
        let error = says(Dialect::Srs, 200, body).expect_err(body);
        assert_eq!(
            error.to_string(),
            r#"the backend's answer is not 0 or {"code":0}"#
        );
    }
}

/// As Debian's module 1.2.2 posted it, but for the id of the client.
#[test]
fn nginx_rtmp_is_asked_byte_by_byte_as_its_module_asks() {
    let wanted = "app=live&flashver=FMLE/3.0%20(compatible%3B%20Lavf59.27&swfurl=\
        &tcurl=rtmp://shop.example:1935/live&pageurl=&addr=203.0.113.7&clientid=ses_1\
        &call=publish&name=cam%201&type=live&token=a%26b&x=y";
    assert_eq!(asked(Dialect::NginxRtmp), wanted);
}

#[test]
fn nginx_rtmp_allows_renames_or_denies_by_status() {
    for status in [200, 204] {
        let allowed = Ok(Verdict::Allow(Allow::default()));
        assert_eq!(says(Dialect::NginxRtmp, status, "no"), allowed);
    }
    for status in [401, 404, 500] {
        assert_eq!(says(Dialect::NginxRtmp, status, ""), Ok(denied()));
    }
    let renamed = |location| {
        Dialect::NginxRtmp.verdict(&Answer {
            status: 302,
            location,
            body: b"",
        })
    };
    assert_eq!(renamed(Some("shop42")), Ok(named("shop42")));
    for location in [None, Some(""), Some("rtmp://elsewhere/live")] {
        let error = renamed(location).expect_err("nothing to publish as");
        assert!(error.to_string().starts_with("Location in"), "{error}");
    }
}

#[test]
fn mediamtx_is_asked_as_its_manual_has_it_and_allows_by_status() {
    let mut publish = publish();
    publish.query = "user=u&pass=p&a=b".to_owned();
    let body = Dialect::Mediamtx.ask(&publish);
    let json: serde_json::Value = serde_json::from_slice(&body.bytes).expect("JSON");
    let wanted = serde_json::json!({
        "user": "u", "password": "p", "token": "", "ip": "203.0.113.7", "action": "publish",
        "path": "live/cam 1", "protocol": "rtmps", "id": "ses_1", "query": "user=u&pass=p&a=b",
        "userAgent": "FMLE/3.0 (compatible; Lavf59.27)",
    });
    assert_eq!(json, wanted);
    assert_eq!(
        says(Dialect::Mediamtx, 204, ""),
        Ok(Verdict::Allow(Allow::default()))
    );
    assert_eq!(says(Dialect::Mediamtx, 401, ""), Ok(denied()));
}

#[test]
fn nothing_here_prints_a_key() {
    let printed = format!("{:?}", publish());
    assert!(
        !printed.contains("s3cr3t") && !printed.contains("a%26b"),
        "{printed}"
    );
}
