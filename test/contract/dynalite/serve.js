// Serves a DynamoDB in memory on a port of its own, which it prints. It ends with its standard input: even when the
// test is killed, none is left behind.
const dynalite = require('dynalite')
const server = dynalite({ createTableMs: 0 })
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
process.stdin.resume().on('end', () => process.exit(0))
