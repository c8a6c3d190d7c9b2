//! The report in a real browser: it is drawn, it follows the reader's light or dark, and nothing is
//! wider than the screen. Without Chromium these tests say that they were skipped.

use std::path::Path;
use std::process::{Command, Output, Stdio};

#[path = "../../examples/sample/run.rs"]
mod run;

/// A script that only the test puts into the page: it tells the page around it what it measured.
const MEASURE: &str = "<script>addEventListener('load', () => {\
    const inside = e => e.closest('.scroll, svg');\
    const wide = [...document.querySelectorAll('body *')]\
        .filter(e => !inside(e) && e.getBoundingClientRect().right > innerWidth + 1);\
    parent.postMessage([innerWidth, document.documentElement.scrollWidth,\
        wide.length, wide.map(e => e.outerHTML.slice(0, 80))[0],\
        getComputedStyle(document.body).backgroundColor,\
        [...document.querySelectorAll('svg')].filter(e => e.getBoundingClientRect().height > 0).length\
    ].join('|'), '*');\
});</script>";

/// A page that shows the report at a width that no window may be, and keeps what it is told.
fn around(width: u32) -> String {
    format!(
        "<!doctype html><meta name=\"color-scheme\" content=\"light dark\">\
         <script>addEventListener('message', event => \
         document.documentElement.setAttribute('data-measured', event.data));</script>\
         <iframe src=\"page.html\" style=\"width:{width}px;height:2000px;border:0\"></iframe>"
    )
}

/// The browser's name, if there is one.
fn chromium() -> Option<&'static str> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = names.into_iter().find(|name| {
        let version = Command::new(name).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    });
    if found.is_none() {
        eprintln!("SKIPPED: no chromium on this machine; the report was not looked at");
    }
    found
}

fn browse(
    browser: &str,
    folder: &Path,
    width: u32,
    dark: bool,
    more: &[&str],
    page: &str,
) -> Output {
    Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--timeout=60000",
        ])
        .arg(format!(
            "--user-data-dir={}",
            folder.join("profile").display()
        ))
        .arg(format!("--window-size={width},2400"))
        .arg(format!(
            "--blink-settings=preferredColorScheme={}",
            u8::from(!dark)
        ))
        .args(more)
        .arg(format!("file://{}", folder.join(page).display()))
        .stderr(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn nothing_is_wider_than_the_screen() {
    let Some(browser) = chromium() else { return };
    let folder = tempfile::tempdir().unwrap();
    let html = entente_report::html(&run::sample(7).unwrap()).unwrap();
    let policy = "default-src 'none'; style-src 'unsafe-inline'";
    assert!(html.contains(policy), "the page forbids scripts and loads");
    let measured = html
        .replace(
            policy,
            "script-src 'unsafe-inline'; style-src 'unsafe-inline'",
        )
        .replace("</body>", &format!("{MEASURE}</body>"));
    std::fs::write(folder.path().join("page.html"), measured).unwrap();
    for (width, dark, paper) in [
        (320, false, "rgb(255, 255, 255)"),
        (390, true, "rgb(20, 23, 27)"),
        (1280, true, "rgb(20, 23, 27)"),
    ] {
        std::fs::write(folder.path().join("around.html"), around(width)).unwrap();
        let waits = ["--dump-dom", "--virtual-time-budget=10000"];
        let output = browse(browser, folder.path(), 1400, dark, &waits, "around.html");
        let dom = String::from_utf8_lossy(&output.stdout);
        let said = dom.split("data-measured=\"").nth(1);
        let said = said.unwrap_or_else(|| panic!("no measure at {width}: {dom:.2000}"));
        let parts: Vec<&str> = said.split('"').next().unwrap().split('|').collect();
        let wanted = width.to_string();
        assert_eq!(parts[..3], [wanted.as_str(), &wanted, "0"], "{parts:?}");
        assert_eq!(parts[4], paper, "{width}");
        assert_eq!(parts[5], "7", "one drawing of each chart");
    }
}

#[test]
fn the_page_is_drawn() {
    let Some(browser) = chromium() else { return };
    let folder = tempfile::tempdir().unwrap();
    let html = entente_report::html(&run::sample(7).unwrap()).unwrap();
    std::fs::write(folder.path().join("page.html"), html).unwrap();
    std::fs::write(
        folder.path().join("blank.html"),
        "<!doctype html><title>x</title>",
    )
    .unwrap();
    let shot = |page: &str, width, dark| {
        let picture = folder.path().join("shot.png");
        // An earlier picture must not stand for one that failed.
        let _absent = std::fs::remove_file(&picture);
        let argument = format!("--screenshot={}", picture.display());
        browse(browser, folder.path(), width, dark, &[&argument], page);
        std::fs::read(&picture).unwrap_or_else(|error| panic!("{page} at {width}: {error}"))
    };
    let blank = shot("blank.html", 390, false);
    let light = shot("page.html", 390, false);
    let dark = shot("page.html", 1280, true);
    // A picture of nothing packs to almost nothing.
    assert!(
        light.len() > 10 * blank.len(),
        "{} and {}",
        light.len(),
        blank.len()
    );
    assert!(
        dark.len() > 10 * blank.len(),
        "{} and {}",
        dark.len(),
        blank.len()
    );
    assert_ne!(light, dark);
}
