//! Every kind against the contract.

use store::{Memory, contract};

#[tokio::test]
async fn memory_keeps_the_contract() {
    contract::check(Memory::new).await;
}
