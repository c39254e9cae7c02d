//! What makes a process a component's.

use super::*;

fn of(variables: &[(&str, &str)]) -> Option<Environment> {
    Environment::of(|name| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    })
}

#[test]
fn socket_and_token_make_a_component() {
    let both = [(SOCKET_VARIABLE, "/greengrass/v2/ipc.socket"), (TOKEN_VARIABLE, "secret")];
    let environment = of(&both).unwrap();
    assert_eq!(environment.socket, Path::new("/greengrass/v2/ipc.socket"));
    assert_eq!(environment.thing_name, None);
    for missing in [&both[..1], &both[1..], &[]] {
        assert_eq!(of(missing), None);
    }
    for empty in ["", " "] {
        assert_eq!(of(&[both[0], (TOKEN_VARIABLE, empty)]), None);
        assert_eq!(of(&[(SOCKET_VARIABLE, empty), both[1]]), None);
    }
}

#[test]
fn an_empty_variable_is_none() {
    let environment = of(&[
        (SOCKET_VARIABLE, "s"),
        (TOKEN_VARIABLE, "secret"),
        ("AWS_IOT_THING_NAME", "core-1"),
        ("AWS_REGION", ""),
        ("AWS_DEFAULT_REGION", "eu-west-1"),
        ("GG_ROOT_CA_PATH", ""),
        ("GGC_VERSION", "2.14.0"),
    ])
    .unwrap();
    assert_eq!(environment.thing_name.as_deref(), Some("core-1"));
    assert_eq!(environment.region.as_deref(), Some("eu-west-1"));
    assert_eq!(environment.root_ca, None);
    assert_eq!(environment.nucleus_version.as_deref(), Some("2.14.0"));
    assert!(!format!("{environment:?}").contains("secret"), "{environment:?}");
}

#[test]
fn paths_have_the_kernels_bound() {
    for (path, wrong) in [
        ("/run/ipc.socket".to_owned(), false),
        ("relative.socket".to_owned(), false),
        ("x".repeat(107), false),
        ("x".repeat(108), true),
        (String::new(), true),
        ("a\0b".to_owned(), true),
    ] {
        assert_eq!(mistake(Path::new(&path)).is_some(), wrong, "{path:?}");
    }
}
