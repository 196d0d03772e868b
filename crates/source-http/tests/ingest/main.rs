//! HTTP ingest from outside: real requests over a socket, and a consumer that settles what comes.

#[cfg(test)]
mod batch;
#[cfg(test)]
mod close;
#[cfg(test)]
mod cloudevents;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod single;
#[cfg(test)]
mod support;
#[cfg(test)]
mod webhooks;
