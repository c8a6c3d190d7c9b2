use super::*;

const HEAD: &str = "<stream:stream xmlns='jabber:client' version='1.0' \
                    xmlns:stream='http://etherx.jabber.org/streams'>";

/// All frames of a stream that comes in chunks of one size, and how it ended.
fn frames(input: &[u8], chunk: usize, limits: Limits) -> (Vec<Frame>, Option<StreamFault>) {
    let mut framer = Framer::new(limits);
    let mut out = Vec::new();
    for part in input.chunks(chunk) {
        framer.push(part);
        loop {
            match framer.next_frame() {
                Ok(Some(frame)) => out.push(frame),
                Ok(None) => break,
                Err(fault) => return (out, Some(fault)),
            }
        }
    }
    (out, None)
}

fn fault_of(input: &str) -> Option<StreamFault> {
    frames(input.as_bytes(), usize::MAX, Limits::BEFORE_AUTH).1
}

fn inside(content: &str) -> String {
    format!("{HEAD}{content}")
}

#[test]
fn cuts_a_stream_into_its_parts() {
    let input =
        format!("<?xml version='1.0'?>\n{HEAD} <a/>\n<b x='>'>t<c/></b ></stream:stream > ");
    let (frames, fault) = frames(input.as_bytes(), usize::MAX, Limits::BEFORE_AUTH);
    assert_eq!(fault, None);
    assert_eq!(
        frames,
        [
            Frame::Decl,
            Frame::StreamOpen(Bytes::from(HEAD)),
            Frame::Stanza(Bytes::from("<a/>")),
            Frame::Stanza(Bytes::from("<b x='>'>t<c/></b >")),
            Frame::StreamClose,
        ]
    );
}

/// T1, T2: what RFC 6120 11.1 forbids is refused at the byte that tells, wherever it stands.
#[test]
fn restricted_markup_is_refused_at_once() {
    let cases = [
        ("<!D", StreamFault::Doctype),
        ("<!d", StreamFault::Doctype),
        ("<!-", StreamFault::Comment),
        ("<?p", StreamFault::ProcessingInstruction),
    ];
    for (markup, fault) in cases {
        for before in ["<a>", "<a>x", "<a><b/>", ""] {
            assert_eq!(
                fault_of(&inside(&format!("{before}{markup}"))),
                Some(fault),
                "{markup}"
            );
        }
    }
    assert_eq!(fault_of("<!D"), Some(StreamFault::Doctype));
    assert_eq!(fault_of("<!-"), Some(StreamFault::Comment));
    assert_eq!(fault_of("<?p"), Some(StreamFault::ProcessingInstruction));
    let twice = "<?xml version='1.0'?><?xml version='1.0'?>";
    assert_eq!(fault_of(twice), Some(StreamFault::ProcessingInstruction));
    let late = inside("<?xml version='1.0'?>");
    assert_eq!(fault_of(&late), Some(StreamFault::ProcessingInstruction));
    assert_eq!(fault_of(&inside("<![")), Some(StreamFault::StrayText));
}

/// T2: of all declarations only version 1.0 in UTF-8 passes.
#[test]
fn declarations_are_checked() {
    for good in [
        "<?xml version='1.0'?>",
        "<?xml version=\"1.0\" encoding='utf-8' ?>",
        "<?xml\tversion = '1.0'\nencoding = \"UTF-8\"?>",
    ] {
        assert_eq!(fault_of(good), None, "{good}");
    }
    for bad in [
        "<?xml version='1.1'?>",
        "<?xml?>",
        "<?xml ?>",
        "<?xml encoding='UTF-8'?>",
        "<?xml version='1.0' standalone='yes'?>",
        "<?xml version='1.0'encoding='UTF-8'?>",
        "<?xml version='1.0' encoding='UTF-8' x?>",
        "<?xml version=1.0?>",
        "<?xml version='1.0'>",
        "<?xml version='1.0<",
        "<?xmlx",
        "<?XML",
    ] {
        assert!(fault_of(bad).is_some(), "{bad}");
    }
    let latin = "<?xml version='1.0' encoding='iso-8859-1'?>";
    assert_eq!(fault_of(latin), Some(StreamFault::DeclaredEncoding));
}

/// T6, T18: markup that is none, text and byte-order marks where only elements may stand.
#[test]
fn stray_bytes_are_refused() {
    for bad in [
        "<1", "< ", "<>", "<=", "<:a", "<a><:", "<a></1", "<a></ a", "<a><b",
    ] {
        let whole = inside(&format!("{bad}<"));
        assert_eq!(fault_of(&whole), Some(StreamFault::NotWellFormed), "{bad}");
    }
    for bad in [
        "<a b='<",
        "<a b='1'c",
        "<a b='1'\"",
        "<a></a b",
        "<a></a'",
        "<a></a/",
        "</a",
        "</stream:streams",
    ] {
        assert_eq!(
            fault_of(&inside(bad)),
            Some(StreamFault::NotWellFormed),
            "{bad}"
        );
    }
    for bad in ["x", "\u{FEFF}", "<a/>x", "<a/>\u{FEFF}", "<a/>&amp;"] {
        assert_eq!(
            fault_of(&inside(bad)),
            Some(StreamFault::StrayText),
            "{bad}"
        );
    }
    for bad in ["x", " ", "\u{FEFF}", "\u{FEFF}<?xml version='1.0'?>"] {
        assert_eq!(fault_of(bad), Some(StreamFault::StrayText), "{bad}");
    }
    assert_eq!(fault_of("<a/>"), Some(StreamFault::StreamHeader));
    for late in ["</stream:stream><a/>", "</stream:stream>x"] {
        assert_eq!(
            fault_of(&inside(late)),
            Some(StreamFault::NotWellFormed),
            "{late}"
        );
    }
}

/// T5: after a fault the same fault comes, and nothing else, whatever is pushed.
#[test]
fn nothing_comes_after_a_fault() {
    let mut framer = Framer::new(Limits::BEFORE_AUTH);
    framer.push(inside("<a></b x>").as_bytes());
    assert!(matches!(
        framer.next_frame(),
        Ok(Some(Frame::StreamOpen(_)))
    ));
    for _ in 0..3 {
        assert_eq!(framer.next_frame(), Err(StreamFault::NotWellFormed));
        framer.push(b"</a><message/>");
        assert_eq!(framer.buffered(), 0);
    }
}

/// T11: one byte below and at the limit passes, one above does not, in chunks of any size.
#[test]
fn the_size_limit_is_exact() {
    let limit = Limits::BEFORE_AUTH.stanza_bytes;
    for (size, passes) in [(limit - 1, true), (limit, true), (limit + 1, false)] {
        let stanza = format!("<a>{}</a>", "x".repeat(size - 7));
        assert_eq!(stanza.len(), size);
        for chunk in [1, 1000, usize::MAX] {
            let (out, fault) = frames(inside(&stanza).as_bytes(), chunk, Limits::BEFORE_AUTH);
            assert_eq!(out.len(), if passes { 2 } else { 1 });
            assert_eq!(fault, (!passes).then_some(StreamFault::TooLarge));
        }
    }
}

/// T11: tags, values and headers without end are cut off at the limit.
#[test]
fn endless_parts_are_cut_off() {
    let endless = "x".repeat(Limits::BEFORE_AUTH.stanza_bytes + 1);
    for start in ["<a", "<a ", "<a b='", "<a><![CDATA[", "<a></a"] {
        let input = inside(&format!("{start}{endless}"));
        for chunk in [7, usize::MAX] {
            let (_, fault) = frames(input.as_bytes(), chunk, Limits::BEFORE_AUTH);
            assert_eq!(fault, Some(StreamFault::TooLarge), "{start}");
        }
    }
    for start in ["<stream:stream ", "<?xml "] {
        assert_eq!(
            fault_of(&format!("{start}{endless}")),
            Some(StreamFault::TooLarge)
        );
    }
}

/// T11, T18: whitespace between stanzas is counted and never held.
#[test]
fn keep_alives_cost_nothing() {
    let mut framer = Framer::new(Limits::BEFORE_AUTH);
    framer.push(HEAD.as_bytes());
    assert!(matches!(
        framer.next_frame(),
        Ok(Some(Frame::StreamOpen(_)))
    ));
    for round in 1..=100 {
        framer.push(&[b' '; 4096]);
        assert_eq!(framer.next_frame(), Ok(None));
        assert_eq!((framer.buffered(), framer.whitespace()), (0, round * 4096));
    }
    framer.push(b"\r\n\t<a/>");
    assert_eq!(
        framer.next_frame(),
        Ok(Some(Frame::Stanza(Bytes::from("<a/>"))))
    );
    assert_eq!(framer.whitespace(), 0);
}

/// T10: one level less than the limit and at the limit passes; 33, 100,000 and a million do not.
#[test]
fn depth_is_limited() {
    for depth in [31, 32] {
        let nested = format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
        assert_eq!(fault_of(&inside(&nested)), None);
    }
    let leaf = format!("{}<b/>{}", "<a>".repeat(32), "</a>".repeat(32));
    assert_eq!(fault_of(&inside(&leaf)), Some(StreamFault::TooDeep));
    for depth in [33, 100_000, 1_000_000] {
        let deep = inside(&"<a>".repeat(depth));
        let (_, fault) = frames(deep.as_bytes(), usize::MAX, Limits::AFTER_AUTH);
        assert_eq!(fault, Some(StreamFault::TooDeep));
    }
}

#[test]
fn elements_and_attributes_are_counted() {
    let many = |count: usize| inside(&format!("<a>{}</a>", "<b/>".repeat(count)));
    assert_eq!(fault_of(&many(1023)), None);
    assert_eq!(fault_of(&many(1024)), Some(StreamFault::TooComplex));
    let wide = |count: usize| {
        let attributes: String = (0..count).map(|at| format!(" a{at}=''")).collect();
        inside(&format!("<a{attributes}><b{attributes}/></a>"))
    };
    assert_eq!(fault_of(&wide(64)), None);
    assert_eq!(fault_of(&wide(65)), Some(StreamFault::TooComplex));
}

#[test]
fn higher_limits_hold_from_when_they_are_set() {
    let stanza = format!("<a>{}</a>", "x".repeat(20_000));
    let mut framer = Framer::new(Limits::BEFORE_AUTH);
    framer.push(HEAD.as_bytes());
    assert!(framer.next_frame().unwrap().is_some());
    framer.set_limits(Limits::AFTER_AUTH);
    framer.push(stanza.as_bytes());
    assert_eq!(framer.next_frame(), Ok(Some(Frame::Stanza(stanza.into()))));
}

#[test]
fn a_restart_keeps_what_came_with_the_last_stanza() {
    let mut framer = Framer::new(Limits::BEFORE_AUTH);
    framer.push(format!("{HEAD}<auth/><?xml version='1.0'?>{HEAD}<iq/>").as_bytes());
    assert!(matches!(
        framer.next_frame(),
        Ok(Some(Frame::StreamOpen(_)))
    ));
    assert!(matches!(framer.next_frame(), Ok(Some(Frame::Stanza(_)))));
    framer.restart();
    assert_eq!(framer.next_frame(), Ok(Some(Frame::Decl)));
    assert!(matches!(
        framer.next_frame(),
        Ok(Some(Frame::StreamOpen(_)))
    ));
    assert_eq!(
        framer.next_frame(),
        Ok(Some(Frame::Stanza(Bytes::from("<iq/>"))))
    );
}

/// T13: what follows a large stanza does not keep its memory.
#[test]
fn memory_of_a_large_stanza_is_given_back() {
    let mut framer = Framer::new(Limits::AFTER_AUTH);
    framer.push(format!("{HEAD}<a>{}</a> <b", "x".repeat(200_000)).as_bytes());
    assert!(framer.next_frame().unwrap().is_some());
    assert!(framer.next_frame().unwrap().is_some());
    assert_eq!(framer.next_frame(), Ok(None));
    assert_eq!(framer.buffered(), 2);
    assert!(framer.buffer.capacity() <= IDLE_BUFFER_BYTES);
}

#[test]
fn one_websocket_message_is_one_element() {
    let message = |text: &str| {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        Framer::new(Limits::BEFORE_AUTH).message(bytes)
    };
    assert!(matches!(message("<open/>"), Ok(Frame::StreamOpen(_))));
    assert!(matches!(
        message("<open\n>x</open>"),
        Ok(Frame::StreamOpen(_))
    ));
    assert!(matches!(
        message("<message><a/></message>"),
        Ok(Frame::Stanza(_))
    ));
    for bad in [
        "",
        " <a/>",
        "<a/> ",
        "<a/><b/>",
        "<a>",
        "<a",
        "x",
        "</stream:stream>",
        HEAD,
    ] {
        assert_eq!(message(bad), Err(StreamFault::WebSocketFrame), "{bad}");
    }
    let declared = message("<?xml version='1.0'?><a/>");
    assert_eq!(declared, Err(StreamFault::ProcessingInstruction));
    assert_eq!(message(&"<a>".repeat(33)), Err(StreamFault::TooDeep));
    let large = format!("<a>{}</a>", "x".repeat(10_000));
    assert_eq!(message(&large), Err(StreamFault::TooLarge));
}
