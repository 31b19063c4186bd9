//! TLS, with a certificate authority of one's own.

use pabal_client::Policy;

use crate::stage::run;

#[test]
fn nothing_yet() {
    run(async {
        let _ = Policy::Auto;
    });
}
