//! The README shows the example as it is.

#[test]
fn the_readme_shows_the_example_that_compiles() {
    let readme = include_str!("../../README.md");
    assert!(
        readme.contains(include_str!("../examples/forward.rs")),
        "copy engine/examples/forward.rs into README.md"
    );
}
