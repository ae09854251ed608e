//! Each way to be refused, with the setting's name, the source and the fix in the text.

use super::*;

/// The one problem of a load that fails, its text checked for each of `said`.
#[track_caller]
fn refused(result: Result<Config, ConfigError>, kind: ProblemKind, said: &[&str]) {
    let error = result.expect_err("refused");
    let text = error.to_string();
    assert_eq!(error.problems().len(), 1, "{text}");
    assert_eq!(error.problems()[0].kind, kind, "{text}");
    for part in said.iter().chain(&["\n  fix: "]) {
        assert!(text.contains(part), "{part:?} in {text:?}");
    }
}

#[test]
fn unknown_settings_of_the_file_are_refused_at_any_depth_with_their_line() {
    let unknown = ProblemKind::Unknown;
    refused(
        from_file("workers = 1\n\n[outbox]\nmesages = 3\n"),
        unknown,
        &[
            "outbox.mesages (stentor.toml, line 4)",
            "no such setting",
            "outbox.messages may be meant",
            "below [outbox]",
        ],
    );
    refused(
        from_file("[outbx]\nmessages = 3"),
        unknown,
        &["outbx (stentor.toml, line 1)", "section [outbox]"],
    );
    refused(
        from_file("messages = 3"),
        unknown,
        &["messages (stentor.toml, line 1)", "outbox.messages may be meant"],
    );
    refused(
        from_file("[log]\nworkers = 3"),
        unknown,
        &["log.workers", "workers may be meant", "above the first"],
    );
    refused(from_file("max-body = 3"), unknown, &["stomp.max_body may be meant"]);
    refused(from_file("colour = 'red'"), unknown, &["colour (stentor.toml, line 1)", "--print-config"]);
    refused(from_file("\"outbox.messages\" = 3"), unknown, &["outbox.messages (stentor.toml, line 1)"]);
    refused(from_file("[outbox.inner]\nx = 3"), unknown, &["outbox.inner (stentor.toml, line 1)"]);
}

#[test]
fn unknown_variables_are_refused() {
    let unknown = ProblemKind::Unknown;
    let one = |name| from_environment(&[(name, "3")]);
    refused(
        one("STENTOR_OUTBOX_MESSAGES"),
        unknown,
        &["environment variable STENTOR_OUTBOX_MESSAGES: ", "STENTOR_OUTBOX__MESSAGES may"],
    );
    refused(one("STENTOR_workers"), unknown, &["STENTOR_workers", "STENTOR_WORKERS may be meant"]);
    refused(one("STENTOR_CONFG"), unknown, &["STENTOR_CONFIG may be meant"]);
    refused(one("STENTOR_PORT"), unknown, &["STENTOR_PORT", "STENTOR_LISTEN"]);
    refused(one("STENTOR_COLOUR"), unknown, &["STENTOR_COLOUR", "unset it"]);
}

#[test]
fn variables_that_describe_a_service_called_stentor_are_passed_over() {
    let environment = [
        ("STENTOR_SERVICE_HOST", "10.0.0.1"),
        ("STENTOR_SERVICE_PORT", "8080"),
        ("STENTOR_SERVICE_PORT_HTTP", "8080"),
        ("STENTOR_PORT", "tcp://10.0.0.1:8080"),
        ("STENTOR_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("STENTOR_PORT_8080_TCP_PROTO", "tcp"),
        ("STENTOR_INTERNAL_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("STENTOR_BIN", "target/release/stentor"),
    ];
    assert_eq!(from_environment(&environment).unwrap(), Config::default());
}

#[test]
fn bad_values_name_the_setting_the_source_and_what_would_do() {
    let invalid = ProblemKind::Invalid;
    refused(
        from_file("[outbox]\nmessages = 'many'"),
        invalid,
        &["outbox.messages (stentor.toml, line 2): \"many\" is not a whole number", "such as 64"],
    );
    refused(
        from_environment(&[("STENTOR_STOMP__CONNECT_TIMEOUT", "30")]),
        invalid,
        &[
            "stomp.connect_timeout (environment variable STENTOR_STOMP__CONNECT_TIMEOUT)",
            "\"30\" is not a time",
            "\"30s\"",
        ],
    );
    refused(
        from_flags(&[("--workers", "workers", "65")]),
        invalid,
        &["workers (flag --workers): 65 is more than the 64 that is allowed", "give 1 to 64"],
    );
    refused(
        from_file("[host]\nperiod = '50ms'"),
        invalid,
        &["host.period", "less than the \"100ms\"", "\"100ms\" to \"1h\""],
    );
    refused(
        from_file("[stomp]\nheart_beat_send = '1ms'"),
        invalid,
        &["stomp.heart_beat_send", "\"0s\" for none"],
    );
    refused(from_file("[outbox]\nbytes = 1.5"), invalid, &["outbox.bytes", "decimal point", "64KiB"]);
    refused(from_file("workers = 99999999999999999999"), invalid, &["workers", "64 bits"]);
    refused(from_file("any_origin = 'yes'"), invalid, &["any_origin", "true or false"]);
    refused(from_file("listen = 8080"), invalid, &["listen", "not a list", "localhost:8080"]);
    refused(from_file("listen = []"), invalid, &["listen", "empty", "localhost:8080"]);
    refused(from_file("node = 'a b'"), invalid, &["node", "\"a b\"", "node-1"]);
    refused(
        from_file("allowed_origins = ['https://a.org/']"),
        invalid,
        &["allowed_origins", "has a path", "https://example.org"],
    );
    refused(from_file("outbox = 3"), invalid, &["outbox", "section", "[outbox]"]);
    refused(from_file("[log]\nlevel = 'inof'"), invalid, &["log.level", "inof", "debug"]);
    refused(from_file("[log]\nformat = 'xml'"), invalid, &["log.format", "xml", "text or json"]);
}

#[test]
fn a_bad_value_is_refused_even_where_a_later_source_overrides_it() {
    let overrides = Overrides::default().flag("--workers", "workers", "2");
    let result = Config::load_with(&overrides, variables(&[("STENTOR_WORKERS", "none")]));
    refused(result, ProblemKind::Invalid, &["workers (environment variable STENTOR_WORKERS)"]);
}

#[test]
fn all_problems_are_told_at_once() {
    let overrides = Overrides::default().flag("--workers", "workers", "0");
    let environment = variables(&[("STENTOR_NOD", "x"), ("STENTOR_NODE", "a b")]);
    let error = Config::load_with(&overrides, environment).unwrap_err();
    let settings: Vec<&str> = error.problems().iter().map(|problem| problem.setting.as_str()).collect();
    assert_eq!(settings, ["STENTOR_NOD", "node", "workers"]);
    assert_eq!(error.to_string().matches("  fix: ").count(), 3);
}

#[test]
fn problems_of_a_file_stand_in_the_order_of_its_lines() {
    let error = from_file("workers = 0\nnod = 'x'\n[outbox]\nmessages = 0\nbites = 1\n").unwrap_err();
    let settings: Vec<&str> = error.problems().iter().map(|problem| problem.setting.as_str()).collect();
    assert_eq!(settings, ["workers", "nod", "outbox.messages", "outbox.bites"]);
}

#[test]
fn listening_beyond_loopback_takes_a_word_about_origins() {
    let said = [
        "listen (stentor.toml, line 1)",
        "0.0.0.0:80 is beyond loopback",
        "allowed_origins",
        "any_origin = true",
    ];
    refused(from_file("listen = ['127.0.0.1:81', '0.0.0.0:80']"), ProblemKind::Contradiction, &said);
    let open = from_file("listen = ['0.0.0.0:80']\nany_origin = true").unwrap();
    assert_eq!(open.origins(), AllowedOrigins::Any);
    let listed = from_file("listen = ['[::]:80']\nallowed_origins = ['https://example.org']").unwrap();
    assert_eq!(listed.origins(), AllowedOrigins::Only(&["https://example.org".parse().unwrap()]));
    assert!(from_file("listen = ['127.8.0.1:0', '[::1]:0']").is_ok());
    assert!(from_file("listen = ['127.0.0.1:0', '127.0.0.1:0']").is_ok());
}

#[test]
fn settings_that_cannot_stand_together_are_refused() {
    let contradiction = ProblemKind::Contradiction;
    refused(
        from_file("any_origin = true\nallowed_origins = ['https://example.org']"),
        contradiction,
        &["any_origin (stentor.toml, line 1)", "keep one"],
    );
    refused(
        from_file("[stomp]\nmax_line = '128KiB'"),
        contradiction,
        &["stomp.max_header_bytes (default)", "64KiB", "128KiB of stomp.max_line", "raise it"],
    );
    refused(
        from_file("listen = ['localhost:80', '[::1]:80']"),
        contradiction,
        &["listen", "[::1]:80 is there twice"],
    );
    let overlap = "any_origin = true\nlisten = ['127.0.0.1:80', '0.0.0.0:80']";
    refused(from_file(overlap), contradiction, &["listen", "127.0.0.1:80 and 0.0.0.0:80", "every address"]);
    assert!(from_file("any_origin = true\nlisten = ['0.0.0.0:80', '[::]:80', '127.0.0.1:81']").is_ok());
    refused(
        from_environment(&[("STENTOR_LOG_LEVEL", "info"), ("STENTOR_LOG__LEVEL", "debug")]),
        contradiction,
        &["log.level", "STENTOR_LOG_LEVEL", "STENTOR_LOG__LEVEL", "unset"],
    );
}

#[test]
fn plain_tcp_takes_a_word_of_its_own_beyond_loopback() {
    assert!(from_file("tcp = ['localhost:61613', '127.0.0.1:61614']").is_ok());
    assert!(from_file("tcp = ['0.0.0.0:61613']\ntcp_beyond_loopback = true").is_ok());
    refused(
        from_flags(&[("--tcp", "tcp", "0.0.0.0:61613"), ("--any-origin", "any_origin", "true")]),
        ProblemKind::Contradiction,
        &["tcp (flag --tcp)", "0.0.0.0:61613 is beyond loopback", "--tcp-beyond-loopback"],
    );
    refused(from_flags(&[("--tcp", "tcp", "61613")]), ProblemKind::Invalid, &["tcp", "localhost:61613"]);
    refused(
        from_file("tcp = ['localhost:8080']"),
        ProblemKind::Contradiction,
        &["tcp (", "127.0.0.1:8080 is there twice"],
    );
}

#[test]
fn the_largest_frame_has_room_among_the_incomplete_ones() {
    refused(
        from_file("[limits]\nincomplete_frames = '8MiB'"),
        ProblemKind::Contradiction,
        &["limits.incomplete_frames", "8MiB of stomp.max_body", "64KiB", "raise it"],
    );
}

#[test]
fn a_refused_url_shows_no_password() {
    let broken = from_environment(&[("STENTOR_AMQP", "http://guest:hunter2@rabbit")]);
    assert!(!format!("{broken:?}").contains("hunter2"));
    refused(
        broken,
        ProblemKind::Invalid,
        &["amqp", "neither amqp:// nor amqps://", "amqp://user:password@host"],
    );
    let in_a_broken_file = from_file("amqp = \"amqp://guest:hunter2@rabbit");
    assert!(!format!("{in_a_broken_file:?}").contains("hunter2"));
}

#[test]
fn a_file_that_is_not_there_or_not_toml_is_refused() {
    let overrides = Overrides::new(Some("/nowhere/stentor.toml".into()));
    let said = ["configuration file (flag --config)", "/nowhere/stentor.toml", "a file that exists"];
    refused(Config::load_with(&overrides, []), ProblemKind::File, &said);
    let result = from_environment(&[("STENTOR_CONFIG", "/nowhere/stentor.toml")]);
    refused(result, ProblemKind::File, &["environment variable STENTOR_CONFIG"]);
    refused(
        from_file("node = 'a'\nworkers 3\n"),
        ProblemKind::File,
        &["configuration file (stentor.toml, line 2)", "TOML"],
    );
    refused(from_file("node = 'a'\nnode = 'b'\n"), ProblemKind::File, &["line 2", "duplicate"]);
}
