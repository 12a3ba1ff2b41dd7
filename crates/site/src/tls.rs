//! The choice of the cryptography that TLS uses: one for all of the process.

/// Makes the choice, where nobody has. Before the first HTTP client is built, which panics without.
pub fn choose() {
    // Whoever comes second finds it made.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
