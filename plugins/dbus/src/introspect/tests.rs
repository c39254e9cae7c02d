use super::*;

#[test]
fn members_of_all_kinds() {
    let xml = r#"<node><interface name="com.example.Window1">
        <method name="MoveTo"><arg type="u" direction="in"/><arg type="s"/><arg type="a{sv}" direction="out"/></method>
        <signal name="Moved"><arg type="s"/><arg type="u"/></signal>
        <property name="Speed" type="i" access="readwrite"/><property name="Serial" type="s" access="read"/>
        </interface><node name="left"/></node>"#;
    let description = Description::parse(xml).unwrap();
    let window = &description.interfaces["com.example.Window1"];
    assert_eq!(window.methods["MoveTo"], [Signature::U32, Signature::Str]);
    assert_eq!(window.signals["Moved"], [Signature::Str, Signature::U32]);
    assert!(window.properties["Speed"].writable && !window.properties["Serial"].writable);
    assert!(Description::parse("<node/>").unwrap().interfaces.is_empty());
    assert!(matches!(Description::parse("<node>"), Err(IntrospectError::Malformed(_))));
}

#[test]
fn what_is_long_or_deep_is_refused() {
    let long = format!("<node>{}</node>", " ".repeat(MAX_XML_LEN));
    assert!(matches!(Description::parse(&long), Err(IntrospectError::TooLong)));
    let levels = MAX_XML_LEN / "<node></node>".len();
    let deep = format!("{}{}", "<node>".repeat(levels), "</node>".repeat(levels));
    // No matter what is made of it, as long as it ends.
    drop(Description::parse(&deep));
    drop(Description::parse(&"<node>".repeat(MAX_XML_LEN / 6)));
    for ty in ["(", "a", "a{s", "v"] {
        let ty = ty.repeat(100_000 / ty.len());
        let xml = format!(
            r#"<node><interface name="a.b"><method name="M"><arg type="{ty}"/></method></interface></node>"#
        );
        drop(Description::parse(&xml));
    }
}
