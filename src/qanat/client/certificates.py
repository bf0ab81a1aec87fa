"""Public certificates."""

from qanat.client.http import Calls
from qanat.client.shapes import Certificate
from qanat.errors import QanatError


class CertificateCalls(Calls):
    """`/qanat/certificates`."""

    def certificates(self, *, zone_id: str | None = None) -> list[Certificate]:
        """Those that the token sees, and those that are being ordered."""
        return list(self._pages("/qanat/certificates", Certificate, {"zone_id": zone_id} if zone_id else {}))

    def find_certificate(self, name_or_id: str) -> Certificate:
        """By id, or by a name when only one certificate has it. QanatError `certificate_unknown`, `certificate_ambiguous`."""
        wanted = name_or_id.lower().removesuffix(".")
        found = [each for each in self.certificates() if wanted == each.id or wanted in each.names]
        if len(found) == 1:
            return found[0]
        raise QanatError(
            "certificate_ambiguous" if found else "certificate_unknown",
            f"{len(found) or 'no'} certificates match {name_or_id!r}",
            hint="see `qanat certificate list`; an id names one",
        )

    def upload_certificate(self, zone_id: str, chain: str, key: str) -> Certificate:
        """For names in the zone; served at once."""
        body = {"certificate": chain, "private_key": key}
        return self._one("POST", f"/qanat/zones/{zone_id}/certificates", Certificate, body=body)

    def renew_certificate(self, certificate_id: str) -> Certificate:
        """Orders another."""
        return self._one("POST", f"/qanat/certificates/{certificate_id}/renew", Certificate)

    def delete_certificate(self, certificate_id: str) -> Certificate:
        """It is served no more."""
        return self._one("DELETE", f"/qanat/certificates/{certificate_id}", Certificate)
