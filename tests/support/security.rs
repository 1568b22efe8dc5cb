//! A broker listener that lets nobody in without TLS and a password.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The user that such a listener knows.
pub const USER: &str = "tidemill";
/// The user's password; looked for in everything that must not show it.
pub const PASSWORD: &str = "correct-horse-battery";
const STORE_PASSWORD: &str = "keystore-password";

/// The certificate of a secured listener, in a folder of the cluster's.
pub(crate) struct Certificate {
    key_store: PathBuf,
    /// What clients trust, as PEM.
    pub(crate) authority: PathBuf,
}

impl Certificate {
    /// Makes a certificate for 127.0.0.1 that vouches for itself.
    pub(crate) fn make(folder: &Path) -> Self {
        let (key_store, authority) = (folder.join("broker.p12"), folder.join("authority.pem"));
        let store = key_store.display().to_string();
        let common = ["-alias", "broker", "-keystore", &store, "-storepass", STORE_PASSWORD];
        keytool(
            &["-genkeypair", "-keyalg", "RSA", "-keysize", "2048", "-validity", "2"],
            &["-dname", "CN=127.0.0.1", "-ext", "san=ip:127.0.0.1", "-ext", "bc=ca:true"],
            &common,
        );
        let pem = authority.display().to_string();
        keytool(&["-exportcert", "-rfc", "-file", &pem], &[], &common);
        Self { key_store, authority }
    }

    /// The settings of a listener `SECURED` that asks for TLS and SASL.
    pub(crate) fn listener_properties(&self) -> String {
        let plain = "org.apache.kafka.common.security.plain.PlainLoginModule";
        let scram = "org.apache.kafka.common.security.scram.ScramLoginModule";
        let store = self.key_store.display();
        format!(
            "listener.name.secured.ssl.keystore.type=PKCS12\n\
             listener.name.secured.ssl.keystore.location={store}\n\
             listener.name.secured.ssl.keystore.password={STORE_PASSWORD}\n\
             listener.name.secured.ssl.key.password={STORE_PASSWORD}\n\
             listener.name.secured.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512\n\
             listener.name.secured.plain.sasl.jaas.config={plain} required user_{USER}=\"{PASSWORD}\";\n\
             listener.name.secured.scram-sha-512.sasl.jaas.config={scram} required;\n"
        )
    }
}

/// What formatting a broker's storage takes so that it knows the user for SCRAM.
pub(crate) fn scram_credentials() -> String {
    format!("SCRAM-SHA-512=[name={USER},password={PASSWORD}]")
}

fn keytool(first: &[&str], second: &[&str], common: &[&str]) {
    let output = Command::new("keytool")
        .args(first)
        .args(second)
        .args(common)
        .output()
        .expect("keytool, which comes with the Java that `make setup` installs");
    assert!(output.status.success(), "keytool: {}", String::from_utf8_lossy(&output.stdout));
}
