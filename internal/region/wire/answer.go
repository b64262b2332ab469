package wire

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"net/http"
	"strconv"
)

// answer is a response that is ready to be sent.
type answer struct {
	id          string
	status      int
	code        string // the error's code, "" for a success
	contentType string
	body        []byte
}

// success renders a result in the protocol of the request.
func success(req request, xmlns, id string, result any) (answer, error) {
	a := answer{id: id, status: http.StatusOK}
	var err error
	if req.jsonType != "" {
		a.contentType = req.jsonType
		if result == nil {
			result = struct{}{}
		}
		a.body, err = json.Marshal(result)
	} else {
		a.contentType = "text/xml"
		a.body, err = renderXML(req.call.Operation, xmlns, id, result)
	}
	if err != nil {
		return answer{}, fmt.Errorf("render the answer of %s:%s: %w", req.call.Service, req.call.Operation, err)
	}
	return a, nil
}

// renderXML writes the envelope by hand, as its names depend on the operation.
func renderXML(operation, xmlns, id string, result any) ([]byte, error) {
	if result == nil {
		result = struct{}{}
	}
	var buf bytes.Buffer
	enc := xml.NewEncoder(&buf)
	envelope := xml.StartElement{
		Name: xml.Name{Local: operation + "Response"},
		Attr: []xml.Attr{{Name: xml.Name{Local: "xmlns"}, Value: xmlns}},
	}
	metadata := struct {
		RequestID string `xml:"RequestId"`
	}{id}
	err := errors.Join(
		enc.EncodeToken(envelope),
		enc.EncodeElement(result, xml.StartElement{Name: xml.Name{Local: operation + "Result"}}),
		enc.EncodeElement(metadata, xml.StartElement{Name: xml.Name{Local: "ResponseMetadata"}}),
		enc.EncodeToken(envelope.End()),
		enc.Flush(),
	)
	return buf.Bytes(), err
}

// failure renders an error in the protocol of the request.
func failure(req request, xmlns, id string, err error) answer {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Code: "InternalFailure", Message: err.Error(), Status: http.StatusInternalServerError}
	}
	a := answer{id: id, status: e.status(), code: e.Code}
	if req.jsonType != "" {
		a.contentType = req.jsonType
		document := map[string]any{"__type": e.Code, "message": e.Message}
		maps.Copy(document, e.Members)
		// Strings, and what services answer with, can't fail to marshal.
		a.body, _ = json.Marshal(document)
		return a
	}
	type detail struct{ Type, Code, Message string }
	fault := "Sender"
	if e.status() >= http.StatusInternalServerError {
		fault = "Receiver"
	}
	a.contentType = "text/xml"
	a.body, _ = xml.Marshal(struct {
		XMLName   xml.Name `xml:"ErrorResponse"`
		Namespace string   `xml:"xmlns,attr,omitempty"`
		Error     detail
		RequestID string `xml:"RequestId"`
	}{Namespace: xmlns, Error: detail{fault, e.Code, e.Message}, RequestID: id})
	return a
}

func (a answer) send(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", a.contentType)
	if a.contentType != "text/xml" { // DynamoDB's SDKs check it, and warn where it is missing
		h.Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(a.body)), 10))
	}
	h.Set("Content-Length", strconv.Itoa(len(a.body)))
	h.Set("X-Amzn-Requestid", a.id)
	if a.code != "" {
		h.Set("X-Amzn-Errortype", a.code)
	}
	w.WriteHeader(a.status)
	// A client that is gone has nobody to be told about it.
	_, _ = w.Write(a.body)
}
