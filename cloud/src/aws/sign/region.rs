//! The AWS region that the name of a host tells.

use super::SignError;

/// What the names of AWS's hosts end with.
const DOMAINS: [&str; 3] = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"];
/// The services whose hosts are known here, as their names have them.
const SERVICES: [&str; 4] = ["execute-api", "execute-api-fips", "iot", "iot-fips"];

/// The AWS region of a host of API Gateway or AWS IoT, such as `a1b2c3.execute-api.eu-central-1.amazonaws.com`,
/// `a1b2c3-ats.iot.cn-north-1.amazonaws.com.cn` or `vpce-0a1b-2c3d.execute-api.us-east-1.vpce.amazonaws.com`. A port behind it
/// is no matter.
///
/// Other names (a domain of one's own, a proxy) do not hold it: [`SignError::NoRegion`].
pub fn region_of(host: &str) -> Result<String, SignError> {
    find(host).ok_or_else(|| SignError::NoRegion { host: host.to_owned() })
}

fn find(host: &str) -> Option<String> {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name).to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    let before = DOMAINS.iter().find_map(|domain| name.strip_suffix(domain))?;
    let before = before.strip_suffix(".vpce").unwrap_or(before);
    let (before, region) = before.rsplit_once('.')?;
    let (before, service) = before.rsplit_once('.')?;
    (!before.is_empty() && SERVICES.contains(&service) && looks_like_one(region)).then(|| region.to_owned())
}

/// `eu-central-1`, `us-gov-west-1`.
fn looks_like_one(region: &str) -> bool {
    let parts: Vec<&str> = region.split('-').collect();
    let [words @ .., number] = parts.as_slice() else { return false };
    let of = |part: &str, kind: fn(&u8) -> bool| !part.is_empty() && part.as_bytes().iter().all(kind);
    words.len() >= 2
        && words.iter().all(|word| of(word, u8::is_ascii_lowercase))
        && of(number, u8::is_ascii_digit)
}
