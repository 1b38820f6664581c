//! A badge that follows from a certificate: as SVG, and as an endpoint for shields.io (<https://shields.io/badges/endpoint-badge>).

use super::certificate::Certificate;

const LABEL: &str = "agent image interface";

/// Some width of a character in the badge's font, in pixels. Text is stretched to what follows, so it may be off by a little.
const CHARACTER: usize = 7;

/// What the badge says: the interface version and the profiles.
fn message(certificate: &Certificate) -> String {
    let profiles: Vec<&str> = certificate.profiles.iter().map(|profile| profile.as_str()).collect();
    format!("{} {}", certificate.interface, profiles.join(" "))
}

/// The badge as SVG.
#[must_use]
pub fn svg(certificate: &Certificate) -> String {
    let message = escaped(&message(certificate));
    let width = |text: &str| text.chars().count() * CHARACTER + 12;
    let (left, right) = (width(LABEL), width(&message));
    let (whole, middle, left_text, right_text) = (left + right, left + 6, left - 12, right - 12);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="20" role="img" aria-label="{LABEL}: {message}">
<title>{LABEL}: {message}</title>
<clipPath id="round"><rect width="{whole}" height="20" rx="3" fill="#fff"/></clipPath>
<g clip-path="url(#round)"><rect width="{left}" height="20" fill="#444"/><rect x="{left}" width="{right}" height="20" fill="#1a7f37"/></g>
<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">
<text x="6" y="14" textLength="{left_text}">{LABEL}</text><text x="{middle}" y="14" textLength="{right_text}">{message}</text>
</g>
</svg>
"##
    )
}

/// Text within XML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The badge as shields.io's endpoint JSON.
#[must_use]
pub fn endpoint(certificate: &Certificate) -> String {
    let badge = serde_json::json!({"schemaVersion": 1, "label": LABEL, "message": message(certificate), "color": "brightgreen"});
    format!("{badge}\n")
}
