//! The demo's configuration: a real one, written to a directory of its own with fresh secrets.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Writes `config/outcome-bridge.toml` and the secrets it names under `home`.
pub(super) fn write(home: &Path, apis: SocketAddr) -> io::Result<()> {
    let config = home.join("config");
    let secrets = config.join("secrets");
    std::fs::create_dir_all(&secrets)?;
    for name in [
        "calendly",
        "hubspot",
        "phonely",
        "change-outcome",
        "aura",
        "voice",
    ] {
        std::fs::write(secrets.join(name), hex::encode(rand::random::<[u8; 24]>()))?;
    }
    for name in ["stripe", "team", "crm"] {
        let secret = format!("whsec_{}", STANDARD.encode(rand::random::<[u8; 24]>()));
        std::fs::write(secrets.join(name), secret)?;
    }
    std::fs::create_dir_all(config.join("mappings"))?;
    std::fs::write(
        config.join("mappings/team.toml"),
        "# Rules of your own go here; for now the connector's hold.\nformat = 1\nextends = true\n",
    )?;
    let data = home.join("data");
    std::fs::create_dir_all(&data)?;
    std::fs::write(config.join("outcome-bridge.toml"), text(&data, apis))
}

fn text(data: &Path, apis: SocketAddr) -> String {
    let data = data.display();
    format!(
        r#"# The demo's configuration. `outcome-bridge init` writes one for you.

[server]
bind = "127.0.0.1:0"
public_url = "https://bridge.example.com"

[admin]
bind = "127.0.0.1:0"

[storage]
dir = "{data}"

[log]
filter = "error"

[delivery]
retry_first = "200 ms"
allow_private = true          # the stand-ins are on loopback

[sources.calendly]
connector = "calendly"
region = "US"
signing_key = "file:secrets/calendly"

[sources.stripe]
connector = "stripe"
signing_secret = "file:secrets/stripe"

[sources.hubspot]
connector = "hubspot"
client_secret = "file:secrets/hubspot"
currency = "USD"

[sources.team]
connector = "standard-webhooks"
signing_secret = "file:secrets/team"

[sources.crm]
connector = "standard-webhooks"
signing_secret = "file:secrets/crm"

[sources.voice]
connector = "call-webhook"
secret = "file:secrets/voice"

[destinations.phonely]
connector = "phonely"
base_url = "http://{apis}/phonely"
agent_id = "agent123"
api_key = "file:secrets/phonely"

[destinations.aura]
connector = "aura"
base_url = "http://{apis}/aura"
authorization = "file:secrets/aura"

[destinations.change-outcome]
connector = "change-outcome"
base_url = "http://{apis}/change-outcome"
token = "file:secrets/change-outcome"

# HubSpot's events name a deal and no call: they go to the built-in store only.
[[routes]]
sources = ["calendly", "stripe", "team"]
destinations = ["phonely", "aura", "change-outcome"]

# These two are addressed by a call's id: what names only a phone waits until its call is known.
[[routes]]
sources = ["crm"]
destinations = ["aura", "change-outcome"]
"#
    )
}
