//! One file per controller: what it watches and a pure fn reconcile(&View, Now) -> Plan.
