//! The page that the README links to.

use std::fs;

use super::Desk;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/report.html");

/// The lines of a page without what another day, or a slower machine, would write.
fn without_times(page: &str) -> Vec<&str> {
    let lines = page.lines().filter(|line| !line.contains(" UTC</b>"));
    lines
        .map(|line| line.split_once(" calls").filter(|_| line.contains("45 calls")).map_or(line, |(start, _)| start))
        .collect()
}

#[tokio::test]
async fn the_page_in_the_readme_is_what_the_job_writes_for_its_sample() {
    let desk = Desk::new();
    desk.run("--rate 0 --report report.html").await.with(3);
    let (written, kept) = (fs::read_to_string(desk.path("report.html")).unwrap(), fs::read_to_string(PAGE).unwrap());
    assert!(kept.len() < 60_000, "{} bytes", kept.len());
    assert_eq!(without_times(&written), without_times(&kept), "run the sample again with --report");
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    assert!(readme.contains("(examples/data/report.html)"));
}
