//! Who is let in at a front end's ports: from its configuration, and its tokens.

use anyhow::{Result, bail};
use skysail_api::access::Access;

use crate::config::{Auth, Config};
use crate::token_file::{TokenFile, path};

/// Who is let in; where that is by tokens, the file of them too, to be watched.
///
/// # Errors
/// If tokens are needed and there are none, or their file is wrong.
pub(crate) fn open(config: &Config) -> Result<(Access, Option<TokenFile>)> {
    if config.auth()? != Auth::Token {
        return Ok((Access::open(), None));
    }
    let file = TokenFile::open(&config.data_dir)?;
    let tokens = file.tokens();
    if tokens.load().is_empty() {
        let why = match config.beyond_loopback()? {
            Some((flag, address)) => format!("{flag} {address} is beyond loopback"),
            None => "--auth token is given".to_owned(),
        };
        let (file, data_dir) = (path(&config.data_dir), config.data_dir.display());
        bail!(
            "{why}, so who connects needs a token, and there is none in {} yet: make one with \
             'skysail tokens new --name NAME --scope admin,query --data-dir {data_dir}'; or say \
             --auth none to let in anybody who reaches the ports",
            file.display()
        );
    }
    warn_if_plain(config)?;
    Ok((Access::by_tokens(tokens), Some(file)))
}

/// Says so where tokens cross a network that can read them.
fn warn_if_plain(config: &Config) -> Result<()> {
    if config.beyond_loopback()?.is_some() && config.certificate()?.is_none() {
        tracing::warn!(
            "tokens travel unencrypted: let only a trusted network, or a proxy with TLS, reach the \
             ports, or give them a certificate (--tls-cert, --tls-key)"
        );
    }
    Ok(())
}
