//! An HTTP client in whose time a clock that leaps stands still: while a call is not answered. The test EC2 is
//! told what the call is called, so that it can say which it will never answer.

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;

use crate::clock::leaping::Asked;

/// Returns a client of the program's own as one of the tests': whole commands wait by a clock that leaps, too.
pub(crate) fn counted(client: SharedHttpClient) -> SharedHttpClient {
    SharedHttpClient::new(CountedClient(client))
}

#[derive(Debug, Clone)]
struct CountedClient(SharedHttpClient);

#[derive(Debug, Clone)]
struct CountedConnector(SharedHttpConnector);

impl HttpClient for CountedClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let connector = self.0.http_connector(settings, components);
        SharedHttpConnector::new(CountedConnector(connector))
    }
}

impl HttpConnector for CountedConnector {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let asked = Asked::begin();
        let headers = request.headers_mut();
        headers.insert("x-amibake-call", asked.number().to_string());
        let calling = self.0.call(request);
        HttpConnectorFuture::new(async move {
            let mut answer = calling.await?;
            // Whole, before the clock goes on.
            let body = std::mem::replace(answer.body_mut(), SdkBody::empty());
            let body = ByteStream::new(body).collect().await;
            let body = body.map_err(|error| ConnectorError::io(error.into()))?;
            *answer.body_mut() = SdkBody::from(body.into_bytes());
            drop(asked);
            Ok(answer)
        })
    }
}
